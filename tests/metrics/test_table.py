"""Every row of the table of metrics, read from an account whose values are all different, against what it must be.

The expectations are independent of the table: a row that reads its neighbour's field fails, and so does a new row
without an expectation.
"""

from dataclasses import replace
from functools import cache

import pytest

from exporter.metrics import PREFIX, ROWS, Row, samples
from exporter.metrics.row import subjects
from exporter.models import TrainingPoint, parse_jobs
from exporter.state import AccountSettings, Call, ListAnswered, ListFailed, RowsAnswered, State
from tests.state.history import History, job, seconds, text
from tests.support import ABOUT, NOW, jobs_json

DAY = 24 * 60

SETTINGS = AccountSettings(
    budget_usd=81,
    stuck_after={
        "pending": 7201,
        "queued": 7202,
        "running": 3600,
        "compressing": 3601,
        "uploading": 3602,
        "cancel_requested": 901,
    },
    failure_window=21601,
    failure_limit=0.55,
    limit=4,
)
EVENTS = {"job_start": ("info", 1), "checkpoint_save": ("", 6), "warning": ("Warning", 4), "job_error": ("error", 5)}
RUN = job(
    "running",
    "ft-run",
    created=-100,
    updated=-3,
    started=-30,
    estimate=300,
    events=None,
    model="llama",
    model_output_name="me/llama-mine",
    suffix="mine",
    user_id="user-1",
    wandb_url="https://wandb.ai/me/llamas/runs/1",
    training_file="file-1",
    validation_file="file-2",
    from_checkpoint="ft-0:1",
    wandb_project_name="llamas",
    train_on_inputs=True,
    training_type={"type": "Lora", "lora_r": 121, "lora_alpha": 122, "lora_dropout": 0.123},
    training_method={"method": "dpo", "dpo_beta": 0.124, "rpo_alpha": 125, "simpo_gamma": 126},
    lr_scheduler={"lr_scheduler_type": "cosine", "lr_scheduler_args": {"min_lr_ratio": 0.119, "num_cycles": 120}},
    token_count=101,
    param_count=102,
    total_price=103e9,
    refund_amount=104e9,
    trainingfile_numlines=105,
    trainingfile_size=106,
    n_epochs=107,
    epochs=7,
    total_steps=108,
    steps=27,
    n_evals=109,
    evals_completed=9,
    n_checkpoints=110,
    batch_size=111,
    learning_rate=0.112,
    warmup_ratio=0.113,
    max_grad_norm=114,
    weight_decay=0.115,
    eval_steps=116,
    max_seq_length=117,
    random_seed=118,
) | {
    "events": [
        {"type": name, "level": level, "created_at": text(-40)}
        for name, (level, count) in (EVENTS | {"job_restarted": ("legacy_info", 2), "billing_limit": (None, 1)}).items()
        for _ in range(count)
    ]
}
QUEUED = job("queued", "ft-run", created=-100, updated=-101, model="llama")
WAIT = job(
    "queued", "ft-wait", place=61, token_count=201, total_price=203e9, refund_amount=204e9, n_epochs=207, epochs=17
)
WAIT |= {"model": "qwen", "n_evals": "many"}
UPLOAD = job("uploading", "ft-up", updated=-62, started=-62, total_price=403e9, model="llama")
ERROR = {
    "token_count": 301,
    "total_price": 303e9,
    "refund_amount": 304e9,
    "n_epochs": 307,
    "epochs": 37,
    "model": "qwen",
}
BEFORE = job("running", "ft-error", created=-40 * DAY, updated=-60, started=-50, **ERROR)
AFTER = job("error", "ft-error", created=-40 * DAY, updated=-1.7, started=-50, events={"job_error": -1.5}, **ERROR)
GONE = job("completed", "ft-gone", created=-90, updated=-80, total_price=503e9, model="llama")
OLD = [
    job("completed", f"ft-old-{n}", created=-9 * DAY, updated=-8 * DAY, total_price=1e9, model="old") for n in (1, 2)
]

EXPECTED = """
jobs{status="queued"} 1
jobs{status="running"} 1
jobs{status="uploading"} 1
jobs{status="completed"} 3
jobs{status="error"} 1
model_jobs{model="llama",status="running"} 1
model_jobs{model="qwen",status="queued"} 1
model_jobs{model="llama",status="uploading"} 1
model_jobs{model="qwen",status="error"} 1
model_jobs{model="old",status="completed"} 2
model_jobs{model="llama",status="completed"} 1
queue_depth 61
tokens{status="queued"} 201
tokens{status="running"} 101
tokens{status="error"} 301
price_usd{status="queued"} 203
price_usd{status="running"} 103
price_usd{status="uploading"} 403
price_usd{status="completed"} 505
price_usd{status="error"} 303
model_price_usd{model="llama",status="running"} 103
model_price_usd{model="qwen",status="queued"} 203
model_price_usd{model="llama",status="uploading"} 403
model_price_usd{model="qwen",status="error"} 303
model_price_usd{model="old",status="completed"} 2
model_price_usd{model="llama",status="completed"} 503
refund_usd 612
month_price_usd 1214
unexported_jobs{reason="retention"} 2
unexported_jobs{reason="limit"} 1
missing_jobs 1
epochs{status="queued"} 207
epochs{status="running"} 107
epochs{status="error"} 307
epochs_completed{status="queued"} 17
epochs_completed{status="running"} 7
epochs_completed{status="error"} 37
stuck_jobs{status="uploading"} 1
failed_jobs{status="error"} 1
unjudged_jobs{status="queued"} 1
job_stuck{job_id="ft-up",status="uploading"} 1
job_stuck{job_id="ft-run",status="running"} 0
job_failed{job_id="ft-error",status="error"} 1
job_progress_deadline_timestamp_seconds{job_id="ft-run"} 61.5
job_last_progress_timestamp_seconds{job_id="ft-run"} 1.5
job_checked_timestamp_seconds{job_id="ft-run"} 1.75
job_info{job_id="ft-run",\
model="llama",output_name="me/llama-mine",suffix="mine",training_type="Lora",training_method="dpo",\
lr_scheduler="cosine",train_on_inputs="true",\
training_file="file-1",validation_file="file-2",from_checkpoint="ft-0:1",\
wandb_project="llamas",user_id="user-1",wandb_url="https://wandb.ai/me/llamas/runs/1"} 1
job_status{job_id="ft-run",status="running"} 1
job_created_timestamp_seconds{job_id="ft-run"} -100
job_updated_timestamp_seconds{job_id="ft-run"} -3
job_started_timestamp_seconds{job_id="ft-run"} -30
job_status_since_timestamp_seconds{job_id="ft-run",status="running"} -2
job_estimated_completion_timestamp_seconds{job_id="ft-run"} 270
job_finished_timestamp_seconds{job_id="ft-error",status="error"} -1.5
job_queue_depth{job_id="ft-wait"} 61
job_epochs{job_id="ft-run"} 107
job_epochs_completed{job_id="ft-run"} 7
job_steps{job_id="ft-run"} 112
job_steps_completed{job_id="ft-run"} 28
job_evals{job_id="ft-run"} 109
job_evals_completed{job_id="ft-run"} 9
job_checkpoints{job_id="ft-run"} 110
job_checkpoints_saved{job_id="ft-run"} 6
job_progress_ratio{job_id="ft-run"} 0.25
job_tokens{job_id="ft-run"} 101
job_parameters{job_id="ft-run"} 102
job_price_usd{job_id="ft-run"} 103
job_refund_usd{job_id="ft-run"} 104
job_training_file_lines{job_id="ft-run"} 105
job_training_file_bytes{job_id="ft-run"} 106
job_hyperparameter{job_id="ft-run",name="batch_size"} 111
job_hyperparameter{job_id="ft-run",name="learning_rate"} 0.112
job_hyperparameter{job_id="ft-run",name="warmup_ratio"} 0.113
job_hyperparameter{job_id="ft-run",name="max_grad_norm"} 114
job_hyperparameter{job_id="ft-run",name="weight_decay"} 0.115
job_hyperparameter{job_id="ft-run",name="eval_steps"} 116
job_hyperparameter{job_id="ft-run",name="max_seq_length"} 117
job_hyperparameter{job_id="ft-run",name="random_seed"} 118
job_hyperparameter{job_id="ft-run",name="min_lr_ratio"} 0.119
job_hyperparameter{job_id="ft-run",name="num_cycles"} 120
job_hyperparameter{job_id="ft-run",name="lora_r"} 121
job_hyperparameter{job_id="ft-run",name="lora_alpha"} 122
job_hyperparameter{job_id="ft-run",name="lora_dropout"} 0.123
job_hyperparameter{job_id="ft-run",name="dpo_beta"} 0.124
job_hyperparameter{job_id="ft-run",name="rpo_alpha"} 125
job_hyperparameter{job_id="ft-run",name="simpo_gamma"} 126
job_events{job_id="ft-run",level="info"} 10
job_events{job_id="ft-run",level="warning"} 4
job_events{job_id="ft-run",level="error"} 5
job_restarts{job_id="ft-run"} 2
job_billing_limited{job_id="ft-run"} 1
job_training_loss{job_id="ft-run"} 1.31
job_eval_loss{job_id="ft-run"} 1.32
job_grad_norm{job_id="ft-run"} 1.33
job_learning_rate{job_id="ft-run"} 1.34
job_training_step{job_id="ft-run"} 19
job_training_timestamp_seconds{job_id="ft-run"} 0.5
job_training_metric{job_id="ft-run",name="train/accuracies"} 1.36
job_training_metric{job_id="ft-run",name="eval/accuracies"} 1.37
up 0
last_poll_timestamp_seconds 2
last_successful_poll_timestamp_seconds -1
poll_duration_seconds 0.73
poll_interval_seconds 32
api_requests_total{endpoint="list",code="200"} 2
api_requests_total{endpoint="retrieve",code="200"} 2
api_requests_total{endpoint="metrics",code="200"} 2
api_requests_total{endpoint="list",code="503"} 1
api_request_duration_seconds_count{endpoint="list"} 3
api_request_duration_seconds_sum{endpoint="list"} 1.23
api_request_duration_seconds_count{endpoint="retrieve"} 2
api_request_duration_seconds_sum{endpoint="retrieve"} 0.2
api_request_duration_seconds_count{endpoint="metrics"} 2
api_request_duration_seconds_sum{endpoint="metrics"} 0.5
api_rate_limit_remaining 71
rejected_jobs{reason="not_an_object"} 2
rejected_jobs{reason="status"} 1
unknown_values_total{field="n_evals"} 1
budget_usd 81
stuck_after_seconds{status="pending"} 7201
stuck_after_seconds{status="queued"} 7202
stuck_after_seconds{status="running"} 3600
stuck_after_seconds{status="compressing"} 3601
stuck_after_seconds{status="uploading"} 3602
stuck_after_seconds{status="cancel_requested"} 901
failure_window_seconds 21601
failure_limit_ratio 0.55
jobs_finished_total{status="error"} 1
job_queue_duration_seconds_count 1
job_queue_duration_seconds_sum 4200
job_run_duration_seconds_count{status="error"} 1
job_run_duration_seconds_sum{status="error"} 2910
exporter_build_info{version="1.2.3",revision="abc",python_version="3.11.0"} 1
exporter_config_last_reload_successful 1
exporter_config_last_reload_success_timestamp_seconds -91
"""
"""Every sample of the account that is not 0, and every sample of the job `ft-run`. Times are minutes from `NOW`."""


@cache
def exported() -> dict[str, float]:
    """The samples after all that: without the account, without buckets, and times as minutes."""
    history = History()
    history.settings = SETTINGS
    first, second = [QUEUED, WAIT, UPLOAD, BEFORE, GONE, *OLD], [RUN | {"events": None}, WAIT, UPLOAD, AFTER, *OLD]
    history.happens(ListAnswered(Call(seconds(-2), "list", "200", 0.2), parse_jobs(jobs_json(*first)), 33.0, 74.0))
    answer = parse_jobs(jobs_json(*second, {"id": "ft-odd"}, 7, 8))
    history.happens(ListAnswered(Call(seconds(-1), "list", "200", 0.3), answer, 31.0, 71.0))
    history.details(0, RUN)
    rows = [
        TrainingPoint(18, seconds(0.25), {"train/loss": 1.31}),
        TrainingPoint(19, seconds(0.5), {"train/grad_norm": 1.33, "train/learning_rate": 1.34, "eval/loss": 1.32}),
        TrainingPoint(19, seconds(0.5), {"train/accuracies": 1.36, "eval/accuracies": 1.37}),
    ]
    history.happens(RowsAnswered(Call(seconds(1), "metrics", "200", 0.4, "ft-run"), rows))
    history.details(1.5, RUN | {"steps_completed": 28, "total_steps": 112}).rows(1.75, job_id="ft-run")
    history.happens(ListFailed(Call(seconds(2), "list", "503", 0.73), 32.0))
    state = State(replace(ABOUT, reloaded=seconds(-91)), {"a": history.view})
    found = {}
    for row in ROWS:
        for values, subject in subjects(state)[row.scope]:
            for name, labels, value in samples(row, row.read(subject)):
                job_id = [("job_id", values[1])] if len(values) > 1 else []
                text_ = ",".join(f'{label}="{text}"' for label, text in [*job_id, *labels])
                timestamp = row.name.endswith("timestamp_seconds")
                if not name.endswith("_bucket"):
                    found[name.removeprefix(PREFIX) + (f"{{{text_}}}" if text_ else "")] = (
                        (value - NOW) / 60 if timestamp else value
                    )
    return found


def expected() -> dict[str, float]:
    """The samples of `EXPECTED`."""
    pairs = (line.rsplit(" ", 1) for line in EXPECTED.strip().splitlines())
    return {series.replace("{}", ""): float(value) for series, value in pairs}


def row_of(series: str) -> Row:
    """The row that a sample is of."""
    name = PREFIX + series.partition("{")[0]
    [row] = [row for row in ROWS if name == row.name or (row.type == "histogram" and name.startswith(f"{row.name}_"))]
    return row


def test_every_row_has_an_expectation() -> None:
    assert {row.name for row in ROWS} == {row_of(series).name for series in expected()}


@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_a_row_reads_its_own_field(name: str) -> None:
    wanted = {series: value for series, value in expected().items() if row_of(series).name == name}
    found = {series: value for series, value in exported().items() if row_of(series).name == name}
    assert {series: found.get(series) for series in wanted} == pytest.approx(wanted, rel=1e-9, abs=1e-6)
    more = {series for series, value in found.items() if (value and 'job_id="' not in series) or "ft-run" in series}
    assert more <= wanted.keys()


def test_no_two_fields_of_the_job_have_the_same_value() -> None:
    values: dict[float, str] = {}
    for series, value in expected().items():
        if "ft-run" in series and value not in (0, 1):
            assert value not in values, f"{series} and {values[value]}"
            values[value] = series

"""A stand-in for Together's fine-tuning API, over real HTTP on loopback.

A job's whole life is data, a `Plan`; what the API says of it at a moment is a pure function of the two. It imports
nothing of this project, so that it is an independent witness of the wire format.
"""

import json
import math
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from itertools import takewhile
from socketserver import ThreadingTCPServer
from threading import Thread
from typing import Any, Literal, Protocol, Self, get_args
from urllib.parse import parse_qsl, urlsplit
from weakref import WeakSet

Json = dict[str, Any]
Clock = Callable[[], float]
Shape = Literal["live", "reference"]
Stage = Literal["pending", "queued", "download", "train", "compress", "upload"]
Fate = Literal["completed", "error", "user_error", "cancelled", "billing_limit", "hang", "restart"]
Change = tuple[float, str, Json]  # when (a moment, or a share of a stage), the event's type or "", the fields it sets

# Tables, to be read by the row.
# fmt: off
STATUS = dict(zip(get_args(Stage), "pending queued running running compressing uploading".split(), strict=True))
ENDS: dict[Fate, list[tuple[str, str]]] = {  # fate -> the last events, each with the status after it
    "completed": [("job_complete", "completed")],
    "restart": [("job_complete", "completed")],
    "error": [("job_error", "error")],
    "user_error": [("job_user_error", "user_error")],
    "cancelled": [("cancel_requested", "cancel_requested"), ("job_stopped", "cancelled")],
    "billing_limit": [("billing_limit", "cancelled"), ("job_stopped", "cancelled")],
    "hang": [],
}
REPEATED = {  # event -> the field that says how often it comes, the field that counts it
    "eval_complete": ("n_evals", "evals_completed"),
    "checkpoint_save": ("n_checkpoints", None),
    "epoch_complete": ("n_epochs", "epochs_completed"),
}
LEVELS = {"billing_limit": "error", "job_error": "error", "job_user_error": "error", "job_restarted": "warning"}
LEGACY_LEVELS = {"info": "legacy_info", "warning": "legacy_iwarning", "error": "legacy_ierror"}
LIVE_LEVELS = {"info": "Info", "warning": "Warning", "error": "Error"}  # and "" on old jobs

PLANNED = """id model suffix n_epochs n_checkpoints n_evals batch_size learning_rate warmup_ratio train_on_inputs
    wandb_project_name""".split()
FIRST: Json = {  # what a job has from the start, besides what is planned
    "user_id": "user-demo", "owner_address": "demo@example.com", "max_grad_norm": 1.0, "weight_decay": 0.01,
    "max_seq_length": 8192, "packing": True, "random_seed": 42, "from_checkpoint": None, "from_hf_model": None,
    "wandb_url": None, "wandb_name": None, "early_stopped": False, "job_id": None, "model_output_path": None,
    "queue_depth": None, "param_count": None, "total_steps": None, "steps_completed": 0, "epochs_completed": 0,
    "evals_completed": 0, "token_count": 0, "total_price": 0, "train_price": 0, "eval_price": 0, "refund_amount": 0,
}
LORA: Json = {"type": "Lora", "lora_dropout": 0.05, "lora_trainable_modules": "all-linear"}
FIRST_OF_EVENT: Json = {
    "object": "fine-tune-event", "param_count": 0, "token_count": 0, "total_steps": 0, "training_offset": 0,
    "wandb_url": "", "checkpoint_path": "", "model_path": "", "hash": "",
}
REFERENCE = """id training_file validation_file model model_output_name model_output_path trainingfile_numlines
    trainingfile_size created_at updated_at n_epochs n_checkpoints n_evals batch_size learning_rate lr_scheduler
    warmup_ratio max_grad_norm weight_decay eval_steps train_on_inputs training_method training_type status job_id
    events token_count param_count total_price epochs_completed queue_depth wandb_project_name wandb_url
    from_checkpoint""".split()
LIVE = """id status created_at updated_at started_at model suffix token_count total_price n_epochs progress
    training_type training_method user_id owner_address""".split()

MODELS = (  # name, parameters, dollars for a million tokens: three small ones, three large
    ("meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", 8_030_261_248, 0.48),
    ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512, 0.48),
    ("mistralai/Mistral-7B-Instruct-v0.2", 7_241_732_096, 0.48),
    ("google/gemma-3-27b-it", 27_432_406_640, 1.5),
    ("Qwen/Qwen2.5-72B-Instruct", 72_706_203_648, 2.9),
    ("meta-llama/Llama-3.3-70B-Instruct-Reference", 70_553_706_496, 2.9),
)
STORIES: tuple[Fate, ...] = ("hang", "restart", "billing_limit", "error", "cancelled", "user_error")
STRIKES: dict[Fate, tuple[Stage, float]] = {"billing_limit": ("download", 1.0), "user_error": ("download", 0.8)}
MINUTES = {
    "pending": (4, 12), "queued": (8, 35), "download": (3, 12), "compress": (4, 12), "upload": (5, 15),
    "cancel": (5, 25),
}
CHOICES: dict[str, Sequence[Any]] = {
    "batch_size": ("max", 8, 16, 32), "learning_rate": (1e-5, 2e-5, 1e-4), "warmup_ratio": (0.0, 0.03, 0.1),
    "train_on_inputs": ("auto", True, False), "suffix": (None, "support", "extract", "nightly"),
    "wandb_project_name": (None, "tuning"), "fraction_digits": range(10), "legacy_levels": (False, False, True),
    "queue_depth": range(1, 30),
}
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The whole life of one job: moments in unix seconds, durations in seconds; every default is plausible.

    The fate, unless it is `completed`, strikes in the stage `strikes_in` after the share `strikes_at` of it. A
    `restart` then does that stage again from its start; a `hang` stays as it is for ever.
    """

    id: str
    created: float
    fate: Fate = "completed"
    strikes_in: Stage = "train"
    strikes_at: float = 0.5
    pending: float = 60.0
    queued: float = 600.0
    download: float = 180.0
    train: float = 1200.0
    compress: float = 120.0
    upload: float = 180.0
    cancel: float = 30.0  # from cancel_requested to cancelled
    estimate: float = 1.0  # how long the API estimates a stage to last, as a multiple of the truth
    queue_depth: int = 5  # its place when it enters the queue
    total_steps: int = 300
    n_epochs: int = 3
    n_evals: int = 0
    n_checkpoints: int = 1
    model: str = MODELS[0][0]
    param_count: int = MODELS[0][1]
    usd_per_million_tokens: float = MODELS[0][2]
    token_count: int = 5_000_000  # of the training file; every epoch trains on all of them
    batch_size: int | Literal["max"] = "max"
    learning_rate: float = 1e-5
    warmup_ratio: float = 0.0
    train_on_inputs: bool | Literal["auto"] | None = "auto"
    lora_r: int | None = 16  # None: full training
    dpo_beta: float | None = None  # None: supervised training
    suffix: str | None = None
    wandb_project_name: str | None = None
    fraction_digits: int = 3  # of its timestamps, 0 to 9
    legacy_levels: bool = False  # the levels of its events are those of old jobs
    seed: int = 0  # of its loss curve


def _random(*key: object) -> random.Random:
    return random.Random("/".join(map(str, key)))  # noqa: S311 - draws a simulated world, guards nothing


def _stamp(plan: Plan, moment: float) -> str:
    whole = math.floor(moment)
    fraction = f".{int((moment - whole) * 1e9):09d}"[: plan.fraction_digits + 1] if plan.fraction_digits else ""
    return datetime.fromtimestamp(whole, UTC).isoformat()[:19] + fraction + "Z"


def _price(plan: Plan) -> int:
    return plan.token_count * plan.n_epochs * round(plan.usd_per_million_tokens * 1000)  # in nano-dollars


def _training(plan: Plan) -> list[Change]:
    total = plan.total_steps
    every = math.ceil(total / 300)  # so often steps are reported and rows of training metrics written
    steps: list[tuple[int, str, Json]] = [(step, "", {}) for step in range(every, total + 1, every)]
    for kind, (times, counter) in REPEATED.items():
        parts: int = getattr(plan, times)
        steps += [(n * total // parts, kind, {counter: n} if counter else {}) for n in range(1, parts + 1)]
    steps.sort(key=lambda step: step[0])
    start = {"steps_completed": 0, "epochs_completed": 0, "evals_completed": 0}
    changes = [(step / total, kind, fields | {"steps_completed": step}) for step, kind, fields in steps]
    return [(0, "training_start", start), *changes, (1, "training_complete", {})]


def _stages(plan: Plan) -> dict[Stage, list[Change]]:
    depth, price = plan.queue_depth, _price(plan)
    tokenised = {"token_count": plan.token_count, "total_steps": plan.total_steps}
    tokenised |= {"train_price": price, "total_price": price}
    uploaded = {"model_output_path": f"s3://models/{plan.id}"}
    return {
        "pending": [(0, "job_pending", {})],
        "queued": [(place / depth, "", {"queue_depth": depth - place}) for place in range(depth)],
        "download": [
            (0, "job_start", {"queue_depth": 0, "job_id": f"job-{plan.id}"}),
            (0, "model_downloading", {}),
            (0.6, "model_download_complete", {"param_count": plan.param_count}),
            (0.6, "training_data_downloading", {}),
            (1, "training_data_download_complete", tokenised),
        ],
        "train": _training(plan),
        "compress": [(0, "model_compressing", {}), (1, "model_compression_complete", {})],
        "upload": [(0, "model_uploading", {}), (1, "model_upload_complete", uploaded)],
    }


def _story(plan: Plan) -> Iterator[Change]:
    """All that ever changes in a job, by moments, in time order."""
    stages = _stages(plan)
    runs = [(stage, 1.0) for stage in stages]
    if plan.fate != "completed":
        struck = list(stages).index(plan.strikes_in)
        runs[struck:] = [(plan.strikes_in, plan.strikes_at)] + (runs[struck:] if plan.fate == "restart" else [])
    at, before = plan.created, None
    for stage, lived in runs:
        length: float = getattr(plan, stage)
        if stage == before:
            lost = plan.strikes_at if stage == "train" else 0
            yield at, "job_restarted", {"job_id": f"job-{plan.id}-2"}
            yield at, "refund", {"refund_amount": int(_price(plan) * lost)}
        if stage == before or before is None or STATUS[stage] != STATUS[before]:
            # The API knows one stage `running`, from the downloads to the end of the training.
            estimated = round((length + plan.train * (stage == "download")) * plan.estimate, 3)
            known = stage not in ("pending", "queued")
            started = None if stage == "pending" else _stamp(plan, at)
            progress = {"estimate_available": known, "seconds_remaining": estimated if known else 0}
            yield at, "", {"status": STATUS[stage], "started_at": started, "progress": progress}
        yield from ((at + length * share, kind, fields) for share, kind, fields in stages[stage] if share <= lived)
        at, before = at + length * lived, stage
    for kind, status in ENDS[plan.fate]:
        yield at, kind, {"status": status, "progress": {"estimate_available": False, "seconds_remaining": 0}}
        at += plan.cancel if kind == "cancel_requested" else 0


def _past(plan: Plan, now: float) -> Iterator[Change]:
    now = max(now, plan.created)  # a job has always been created
    return takewhile(lambda change: change[0] <= now, _story(plan))


def _event(plan: Plan, moment: float, kind: str, step: int) -> Json:
    level = LEVELS.get(kind, "info")
    return FIRST_OF_EVENT | {
        "created_at": _stamp(plan, moment),
        "level": LEGACY_LEVELS[level] if plan.legacy_levels else level,
        "message": kind.replace("_", " ").capitalize() + (f", at step {step}" if step else ""),
        "type": kind,
        "step": step,
    }


def job(plan: Plan, now: float) -> Json:
    """The full object of a job at `now` (unix seconds): every field of either shape."""
    fields = FIRST | {name: getattr(plan, name) for name in PLANNED}
    past = list(_past(plan, now))
    for _, _, change in past:
        fields |= change
    lora = LORA | {"lora_r": plan.lora_r, "lora_alpha": 2 * (plan.lora_r or 0)}
    schedule = {"min_lr_ratio": 0.1, "num_cycles": 0.5}
    return fields | {
        "created_at": _stamp(plan, plan.created),
        "updated_at": _stamp(plan, past[-1][0]),
        "events": [_event(plan, at, kind, change.get("steps_completed", 0)) for at, kind, change in past if kind],
        "training_file": f"file-{plan.id}",
        "validation_file": f"file-{plan.id}-eval" if plan.n_evals else None,
        "eval_steps": plan.total_steps // plan.n_evals if plan.n_evals else 0,
        "trainingfile_numlines": plan.token_count // 640,
        "trainingfile_size": plan.token_count * 4,
        "model_output_name": f"demo/{plan.model.split('/')[-1]}-{plan.suffix or 'ft'}-{plan.id[-8:]}",
        "lr_scheduler": {"lr_scheduler_type": "cosine", "lr_scheduler_args": schedule},
        "training_type": lora if plan.lora_r else {"type": "Full"},
        "training_method": {"method": "dpo", "dpo_beta": plan.dpo_beta} if plan.dpo_beta else {"method": "sft"},
    }


def training_rows(plan: Plan, now: float) -> list[Json]:
    """The training metrics that a job has written by `now` (unix seconds), in time order; a restart begins anew."""
    rows: list[Json] = []
    draw = _random(plan.seed, plan.id)
    for moment, kind, change in _past(plan, now):
        step = change.get("steps_completed")
        if kind == "training_start":
            rows.clear()
        if not step or kind not in ("", "eval_complete"):
            continue
        split, share = "eval" if kind else "train", step / plan.total_steps
        loss = max(0.01, 0.7 + 1.3 * math.exp(-5 * share) + draw.gauss(0, 0.04))
        row: Json = {"train/global_step": step, "timestamp": int(moment * 1e9), f"{split}/loss": loss}
        if split == "train":
            warm = min(1, share / (plan.warmup_ratio or share))
            row["train/learning_rate"] = plan.learning_rate * warm * (0.55 + 0.45 * math.cos(math.pi * share))
            row["train/grad_norm"] = loss * draw.uniform(0.3, 0.6)
            row["train/epoch"] = share * plan.n_epochs
        if plan.dpo_beta:
            row |= {f"{split}/accuracies": 1 - loss / 4, f"{split}/rewards/margins": 2 - loss}
        rows.append(row)
    return rows


def _chosen(rows: list[Json], first: int, points: int) -> list[Json]:
    """The rows from the step `first` on, with at most `points` of training among them, the newest one always."""
    rows = [row for row in rows if row["train/global_step"] >= first]
    steps = [row["train/global_step"] for row in rows if "train/loss" in row]
    points = min(points, len(steps))
    kept = {steps[-1 - n * len(steps) // points] for n in range(points)}
    return [row for row in rows if "eval/loss" in row or row["train/global_step"] in kept]


def live(job: Json) -> Json:
    """The truncated object that the live API lists, of a full one: no events, no figures of the training."""
    return {name: job[name] for name in LIVE} | {"events": []}


def _live_event(event: Json) -> Json:
    kind = "COMPRESSING_MODEL" if event["type"] == "model_compressing" else event["type"].upper()
    changed = {"type": kind, "level": LIVE_LEVELS.get(event["level"], "")}
    return {name: event[name] for name in ("object", "created_at", "message")} | changed


def _live_detail(job: Json) -> Json:
    return job | {"events": [_live_event(event) for event in job["events"]]}


def reference(job: Json) -> Json:
    """What the reference page has of a full object, in lists as well as alone."""
    training = {"training_type": {"type": job["training_type"]["type"]}}
    training["training_method"] = {"method": job["training_method"]["method"]}
    return {name: job[name] for name in REFERENCE} | training


SHAPES = {"live": (live, _live_detail), "reference": (reference, reference)}  # of a list's jobs, of one alone


class Plans(Protocol):
    """A fleet: whatever says which jobs there are at a moment (unix seconds)."""

    def plans(self, now: float) -> Sequence[Plan]: ...


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """An endless random account of `jobs` jobs from `start` (unix seconds) on, `speed` times as fast as life.

    It has that many slots. In each a job is created, runs, ends and stays listed for 2 to 8 simulated hours, until
    the slot's next one takes its place. The first slots tell `STORIES`, one each.
    """

    start: float
    jobs: int = 40
    seed: int = 1
    speed: float = 60.0

    def plans(self, now: float) -> list[Plan]:
        """The newest job of every slot at `now` (unix seconds)."""
        return [self._newest(slot, now) for slot in range(self.jobs)]

    def _newest(self, slot: int, now: float) -> Plan:
        # Slots of one period, evenly out of step (as multiples of the golden ratio are), keep the number of active
        # jobs steady for ever, and make the newest job a matter of arithmetic.
        large = slot % 3 == 0
        period = (8.0 if large else 4.2) * 3600 / self.speed
        phase = (slot + 1) * 0.6180339887498949 % 1
        generation = math.floor((now - self.start) / period + phase)
        if slot == 0:
            generation = min(generation, 0)  # it hangs, and nobody deletes it
        draw = _random(self.seed, slot, generation)
        story = STORIES[slot] if slot < len(STORIES) else None
        fate = story or draw.choices(get_args(Fate), (84, 5, 3, 4, 2, 0, 2))[0]
        strikes_in, strikes_at = STRIKES.get(fate, ("train", draw.uniform(0.2, 0.6)))
        model, parameters, dollars = draw.choice(MODELS[3:] if large else MODELS[:3])
        minutes = {"train": (170, 270) if large and fate != "restart" else (10, 30)} | MINUTES
        drawn: Json = {stage: draw.uniform(*limits) * 60 / self.speed for stage, limits in minutes.items()}
        steps = round(drawn["train"] * self.speed / draw.uniform(3, 9))
        drawn |= {name: draw.choice(values) for name, values in CHOICES.items()}
        epochs = draw.randint(1, 5)
        dpo = draw.random() < 0.15
        number = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        # fmt: off
        return Plan(
            id=f"ft-{number if draw.random() < 0.6 else number[:13]}", seed=self.seed,
            created=self.start + (generation - phase) * period, estimate=draw.uniform(0.92, 1.08),
            fate=fate, strikes_in=strikes_in, strikes_at=strikes_at, total_steps=steps, n_epochs=epochs,
            n_evals=draw.choice((0, epochs, 10)), n_checkpoints=draw.randint(1, epochs),
            model=model, param_count=parameters, usd_per_million_tokens=dollars * (2.5 if dpo else 1),
            token_count=round(steps * draw.uniform(4e4, 6e4) / epochs), dpo_beta=0.1 if dpo else None,
            lora_r=None if large and draw.random() < 0.4 else draw.choice((8, 16, 64)), **drawn,
        )
        # fmt: on


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 20  # head and body leave together, at the end of the request
    server: "_Server"

    def do_GET(self) -> None:
        self._send(*self.server.answer(self.path, self.headers["Authorization"]))

    def send_error(self, code: int, message: str | None = None, *_: object, **__: object) -> None:
        self.close_connection = True  # a body that nobody read may follow
        self._send(*_fault(405 if code == 501 else code, message or ""))  # the base says 501 to all but GET

    def _send(self, status: int, body: Json) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.end_headers()
        self.wfile.write(content if self.command != "HEAD" else b"")

    def log_message(self, *_: object, **__: object) -> None:
        pass


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, answer: Callable[[str, str | None], tuple[int, Json]]) -> None:
        self.answer = answer
        self.connections: WeakSet[socket.socket] = WeakSet()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        with suppress(ConnectionError):  # a client may leave when it likes
            super().finish_request(request, client_address)


def _fault(status: int, message: str, kind: str = "invalid_request_error") -> tuple[int, Json]:
    return status, {"error": {"message": message, "type": kind, "param": None, "code": None}}


class Simulator:
    """The API of one account over HTTP on loopback, for clients that know its `key`; a context manager.

    `fleet` says which jobs there are, `shape` how they are shown, `clock` what time it is (unix seconds). Port 0 is
    any free one.
    """

    def __init__(
        self, fleet: Plans, *, key: str, shape: Shape = "live", clock: Clock = time.time, port: int = 0
    ) -> None:
        self.fleet, self.key, self.clock, self.port = fleet, key, clock, port
        self.listed, self.detail = SHAPES[shape]

    def jobs(self) -> list[Json]:
        """The full objects of all jobs now, without HTTP and whatever the shape: the truth."""
        now = self.clock()
        return [job(plan, now) for plan in self.fleet.plans(now)]

    def answer(self, target: str, authorization: str | None) -> tuple[int, Json]:
        """The status and body for a GET of `target` (path and query) with that Authorization header."""
        if authorization != f"Bearer {self.key}":
            return _fault(401, "Invalid API key provided", "authentication_error")
        now, url = self.clock(), urlsplit(target)
        plans = {plan.id: plan for plan in self.fleet.plans(now)}
        match url.path.split("/"):
            case ["", "v1", "fine-tunes"]:
                return 200, {"data": [self.listed(job(plan, now)) for plan in plans.values()]}
            case ["", "v1", "fine-tunes", name] if name in plans:
                return 200, self.detail(job(plans[name], now))
            case ["", "v1", "fine-tunes", name, "events"] if name in plans:
                return 200, {"data": self.detail(job(plans[name], now))["events"]}
            case ["", "v1", "fine-tunes", name, "metrics"] if name in plans:
                query = {option: int(value) for option, value in parse_qsl(url.query) if value.isdecimal()}
                first, points = query.get("global_step_from", 0), query.get("resolution", 1000)
                return 200, {"metrics": _chosen(training_rows(plans[name], now), first, points)}
        return _fault(404, f"There is nothing at {url.path}", "not_found_error")

    @property
    def url(self) -> str:
        """The base of all calls, once it is started."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def start(self) -> Self:
        """Answer from now on, in threads of its own."""
        self._server = _Server(self.port, self.answer)
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close every connection and wait for every thread to end."""
        self._server.shutdown()
        self._thread.join()
        for connection in self._server.connections:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.stop()

"""The wire format of a job as pydantic validates it: types only, so that validation runs at full speed."""

from datetime import datetime
from typing import Annotated, Any, Literal, Required

from pydantic import AliasChoices, Field
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

MAX_LABEL = 256
"""Characters of a text that becomes a label value; longer ones are cut, and a job with a longer id is rejected."""

Id = Annotated[str, Field(min_length=1, max_length=MAX_LABEL)]
Text = Annotated[str, Field(max_length=MAX_LABEL)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Time = Annotated[datetime | Literal[""], Field(union_mode="left_to_right")]


class EventFields(TypedDict, total=False):
    """An event of a job as the API sends it."""

    type: Required[Text]
    level: Text | None
    created_at: Time | None
    message: Any  # for people only: whatever is not a text is shown as none


class LrSchedulerArgs(TypedDict, total=False):
    """`lr_scheduler.lr_scheduler_args`."""

    min_lr_ratio: Number | None
    num_cycles: Number | None


class LrScheduler(TypedDict, total=False):
    """`lr_scheduler`."""

    lr_scheduler_type: Text | None
    lr_scheduler_args: LrSchedulerArgs | None


class TrainingType(TypedDict, total=False):
    """`training_type`: `Full`, or `Lora` with its numbers."""

    type: Text | None
    lora_r: Number | None
    lora_alpha: Number | None
    lora_dropout: Number | None


class TrainingMethod(TypedDict, total=False):
    """`training_method`: `sft`, or `dpo` with its numbers."""

    method: Text | None
    dpo_beta: Number | None
    rpo_alpha: Number | None
    simpo_gamma: Number | None


class Progress(TypedDict, total=False):
    """`progress`: the estimated length of the current stage, in seconds from `started_at`."""

    estimate_available: bool | None
    seconds_remaining: Number | None


class JobFields(TypedDict, total=False):
    """A job as the API sends it, in either list shape or with all details; absent or null is unknown."""

    id: Required[Id]
    status: Required[Text]
    created_at: Time | None
    updated_at: Time | None
    started_at: Time | None
    progress: Progress | None
    events: list[EventFields] | None

    model: Text | None
    model_output_name: Text | None
    user_id: Text | None
    suffix: Annotated[Text | None, Field(validation_alias=AliasChoices("suffix", "Suffix"))]
    training_file: Text | None
    validation_file: Text | None
    from_checkpoint: Text | None
    wandb_project_name: Text | None
    wandb_url: Text | None

    token_count: Count | None
    param_count: Count | None
    total_price: Money | None
    refund_amount: Money | None
    queue_depth: Count | None
    trainingfile_numlines: Annotated[
        Count | None, Field(validation_alias=AliasChoices("trainingfile_numlines", "TrainingFileNumLines"))
    ]
    trainingfile_size: Annotated[
        Count | None, Field(validation_alias=AliasChoices("trainingfile_size", "TrainingFileSize"))
    ]

    n_epochs: Count | None
    epochs_completed: Count | None
    total_steps: Count | None
    steps_completed: Count | None
    n_evals: Count | None
    evals_completed: Count | None
    n_checkpoints: Count | None

    batch_size: Count | Literal["max"] | None
    learning_rate: Number | None
    lr_scheduler: LrScheduler | None
    warmup_ratio: Number | None
    max_grad_norm: Number | None
    weight_decay: Number | None
    eval_steps: Count | None
    max_seq_length: Count | None
    random_seed: Number | None
    train_on_inputs: bool | Text | None
    training_type: TrainingType | None
    training_method: TrainingMethod | None

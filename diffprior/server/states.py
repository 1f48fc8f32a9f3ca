"""Answers about images, tasks and jobs, as programs and the page read them."""

import json
from dataclasses import asdict

from ..runtime.report import as_json
from .answers import ImageInfo, JobInfo, JobTicket, OptionInfo, ResultInfo, TaskInfo
from .code import as_command, as_python
from .forms import Form
from .jobs import Job, Worker
from .store import Image

__all__ = ["API", "image_info", "job_info", "job_ticket", "job_url", "task_info"]

API = "/api/v1"


def task_info(form: Form) -> TaskInfo:
    """Return what a task can be asked for."""
    return TaskInfo(
        name=form.name,
        tab=form.tab,
        title=form.title,
        help=form.command.help,
        input=form.input,
        past=str(form.command.past),
        options=[OptionInfo(**asdict(field)) for field in form.fields],
    )


def image_info(image: Image) -> ImageInfo:
    """Return what is known of an image."""
    return ImageInfo(
        id=image.id,
        name=image.name,
        width=image.width,
        height=image.height,
        depth=image.depth,  # type: ignore[arg-type]
        channels=image.channels,
        alpha=image.alpha,
        bytes=image.bytes,
        preview=f"{API}/images/{image.id}/preview",
        notes=image.notes,
    )


def job_url(job: Job) -> str:
    """Return the address of a job."""
    return f"{API}/jobs/{job.id}"


def job_ticket(job: Job, worker: Worker) -> JobTicket:
    """Return what is said of a new job."""
    return JobTicket(
        job=job.id,
        task=job.order.form.name,
        state=job.state,
        position=worker.position(job),
        url=job_url(job),
        events=f"{job_url(job)}/events",
    )


def job_info(job: Job, worker: Worker, *, report: bool = True) -> JobInfo:
    """Return where a job stands, and what came of it.

    Arguments:
        report: Whether the report is added, which says how the result was made.
    """
    order = job.order
    url = job_url(job)
    saved = job.saved
    count = job.result_count
    is_image = saved is not None and saved.count > 0 and order.form.command.past is not None
    results = [
        ResultInfo(
            sample=k + 1,
            name=order.name(k, count),
            file=f"{url}/results/{k + 1}",
            preview=f"{url}/results/{k + 1}/preview" if is_image else None,
        )
        for k in range(count)
    ]
    spread = is_image and saved is not None and saved.has_std
    return JobInfo(
        job=job.id,
        task=order.form.name,
        image=order.source.id if order.source is not None and order.listed else None,
        name=None if order.source is None else order.source.name,
        state=job.state,
        position=worker.position(job),
        share=1.0 if job.state == "done" else job.share,
        stage=job.stage,
        seconds_left=job.seconds_left,
        seconds=round(job.seconds, 3),
        error=job.error,
        samples=count,
        results=results,
        uncertainty=f"{url}/uncertainty" if spread else None,
        veil=f"{url}/veil" if spread else None,
        compare=f"{url}/compare" if is_image and isinstance(order.source, Image) else None,
        report=json.loads(as_json(dict(saved.report))) if report and saved is not None else None,
        warnings=job.warnings,
        command=as_command(order),
        python=as_python(order),
    )

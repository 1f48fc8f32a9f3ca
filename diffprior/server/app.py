"""The addresses of the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from .. import __version__
from ..cli.process import describe
from ..io import files
from ..validation import literal
from . import events, openapi, previews, states
from .answers import Health, ImageInfo, JobInfo, JobTicket, ServerInfo, TaskInfo
from .finders import FINDERS, find
from .forms import Form, forms
from .iopaint import SAMPLERS, ModelChoice, chosen_model, inpaint_of, model_info, server_config
from .jobs import Job, Worker
from .limits import Refusal
from .orders import flag, orders_of, suffix_of
from .results import Saved
from .security import Guard
from .service import Service
from .states import API
from .store import Image, Upload, reading

__all__ = ["create_app"]

PAGE = Path(__file__).with_name("page")
FIELDS = 1000  # of a form
TEXT = 2**20  # bytes of a field that is no file
KINDS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
}
Side = Annotated[int, Query(ge=1, le=2**31, description="The longest side, in pixels.")]
Number = Annotated[int, Query()]


def create_app(service: Service) -> ASGIApp:
    """Return the application of a server, with the checks in front of it."""
    config = service.config

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if service.folder is None:
            service.open()
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(
        title="diffprior",
        version=__version__,
        summary="Inverse problems and image editing with diffusion priors",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=openapi.PROBLEMS,
    )
    _add_handlers(app)
    _add_server(app, service)
    _add_images(app, service)
    _add_masks(app, service)
    _add_jobs(app, service)
    _add_results(app, service)
    for form in forms().values():
        _add_task(app, service, form)
    _add_page(app)
    return Guard(
        app,
        token=config.token,
        host=config.host,
        port=config.port,
        most=config.limits.bytes,
    )


def _add_handlers(app: FastAPI) -> None:
    """Have every error answered by one sentence."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return JSONResponse({"error": refusal.sentence}, refusal.status, refusal.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{name}: {first['msg']}"}, 422)

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        text = str(error.detail)
        if text == HTTPStatus(error.status_code).phrase:
            text = f"{text.lower()}: {request.method} {literal(request.url.path, 80)}"
        return JSONResponse({"error": text}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": describe(error)}, 500)


@asynccontextmanager
async def read_form(request: Request) -> AsyncIterator[FormData]:
    """Yield the form of a request, whose files are there until the block ends."""
    form = await _parsed(request)
    try:
        yield form
    finally:
        await form.close()


async def _parsed(request: Request) -> FormData:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind and not await request.body():
        return FormData()
    if kind not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise Refusal(415, "send a form (multipart/form-data)")
    try:
        return await request.form(max_files=FIELDS, max_fields=FIELDS, max_part_size=TEXT)
    except (UnicodeError, ValueError) as error:
        raise Refusal(400, "the form cannot be read") from error


def _add_server(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    def health() -> Health:
        """Say that the server is there."""
        return Health(ok=True)

    @app.get(f"{API}/server")
    def server() -> ServerInfo:
        """Say what the server is, and its limits."""
        return service.describe()

    @app.get(f"{API}/tasks")
    def tasks() -> list[TaskInfo]:
        """List the tasks and their settings."""
        return [states.task_info(form) for form in forms().values()]

    @app.get(f"{API}/model")
    def model() -> dict[str, Any]:
        """Say what IOPaint says of its model."""
        return model_info(service.prior)

    @app.post(f"{API}/model")
    def switch_model(choice: ModelChoice) -> dict[str, Any]:
        """Take a model by its name, as IOPaint does: there is the server's own prior alone."""
        return chosen_model(service.prior, choice.name)

    @app.get(f"{API}/samplers")
    def samplers() -> list[str]:
        """List the samplers that IOPaint lets choose from: here the task chooses."""
        return SAMPLERS

    @app.get(f"{API}/server-config")
    def configuration() -> dict[str, Any]:
        """Say what IOPaint says of itself."""
        return server_config(service.prior)


def _add_images(app: FastAPI, service: Service) -> None:
    @app.post(f"{API}/images", status_code=201, openapi_extra=openapi.form_body(openapi.IMAGE_FORM))
    async def add_image(request: Request) -> ImageInfo:
        """Put an image on the list: a file, or a sample of a job to go on with."""
        async with read_form(request) as form:
            return await run_in_threadpool(_take_image, form, service)

    @app.get(f"{API}/images")
    def list_images() -> list[ImageInfo]:
        """List the images in order."""
        return [states.image_info(image) for image in service.store.list()]

    @app.get(f"{API}/images/{{id}}")
    def get_image(id: str) -> ImageInfo:
        """Say what is known of an image."""
        return states.image_info(service.store.get(id))

    @app.get(f"{API}/images/{{id}}/file", response_class=Response, responses=openapi.ANY_FILE)
    def get_file(id: str) -> Response:
        """Return the bytes that were sent."""
        image = service.store.get(id)
        kind = KINDS.get(Path(image.name).suffix.lower(), "application/octet-stream")
        return FileResponse(image.path, media_type=kind, headers=_named(image.name))

    @app.get(f"{API}/images/{{id}}/preview", response_class=Response, responses=openapi.PICTURE)
    def get_preview(id: str, side: Side = previews.SIDE) -> Response:
        """Return a small picture, upright."""
        return _picture(service.store.preview(service.store.get(id), side))

    @app.delete(f"{API}/images/{{id}}", status_code=204)
    def delete_image(id: str) -> Response:
        """Take an image from the list; jobs that need it keep it."""
        service.store.forget(id)
        return Response(status_code=204)


def _take_image(form: FormData, service: Service) -> ImageInfo:
    """Return an image that was sent, or that a job made."""
    store = service.store
    sent = form.get("file")
    if isinstance(sent, UploadFile):
        name = sent.filename or "image"
        return states.image_info(store.add(store.read(sent.file, name, shown=True)))
    job = form.get("job")
    if not isinstance(job, str):
        raise Refusal(422, "file is missing: give a file, or job and sample")
    text = form.get("sample", "1")
    made = service.worker.get(job)
    k = _sample(made, int(text) if isinstance(text, str) and text[:9].isdecimal() else 0)
    with made.result_path(k).open("rb") as stream:
        name = made.order.name(k, made.result_count)
        return states.image_info(store.add(store.read(stream, name, shown=True)))


def _add_masks(app: FastAPI, service: Service) -> None:
    for name, finder in FINDERS.items():
        _add_mask(app, service, name, finder)


def _add_mask(app: FastAPI, service: Service, name: str, finder: Any) -> None:
    async def find_mask(request: Request) -> Response:
        async with read_form(request) as form:
            work = await run_in_threadpool(find, name, form, service.store, service.config.limits)
        try:
            future = service.worker.call(work)
            data = await asyncio.wrap_future(future)
        except ValueError as error:
            raise Refusal(400, describe(error)) from error
        return Response(data, media_type="image/png")

    app.add_api_route(
        f"{API}/masks/{name}",
        find_mask,
        methods=["POST"],
        name=f"find_{name}",
        summary=finder.help,
        response_class=Response,
        responses=openapi.PNG,
        openapi_extra=openapi.form_body(finder.schema),
    )


def _add_task(app: FastAPI, service: Service, form: Form) -> None:
    async def post(request: Request) -> Any:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if form.name == "inpaint" and kind == "application/json":
            return await _as_iopaint(request, service)
        async with read_form(request) as fields:
            wait = flag(fields, "wait")
            several = len(fields.getlist("image")) > 1
            if wait and several:
                raise Refusal(422, "wait is for one image; ask for several without it")
            limits = service.config.limits
            orders = await run_in_threadpool(orders_of, form, fields, service.store, limits)
        jobs = service.worker.submit(orders)
        if not wait:
            tickets = [states.job_ticket(job, service.worker).model_dump() for job in jobs]
            return JSONResponse(tickets if several else tickets[0], 202)
        return await _result_of(jobs[0])

    app.add_api_route(
        f"{API}/{form.name}",
        post,
        methods=["POST"],
        name=form.name,
        summary=form.title,
        description=form.command.help,
        status_code=202,
        response_model=JobTicket | list[JobTicket],
        responses=openapi.task_answers(form),
        openapi_extra=openapi.task_body(form),
    )


async def _result_of(job: Job, **headers: str) -> Response:
    """Return the file of the result of a job when it is there."""
    await events.finished(job)
    if job.state != "done":
        raise Refusal(job.status, job.error or "the job was canceled")
    own = {
        "X-Diffprior-Job": job.id,
        "X-Diffprior-Seed": str(job.order.values.get("seed", 0)),
        **headers,
    }
    return _file(job, 0, own)


async def _as_iopaint(request: Request, service: Service) -> Response:
    """Answer a request in the schema of IOPaint with the bytes of an image."""
    body = await request.body()
    order, seed = await run_in_threadpool(inpaint_of, body, service)
    job = service.worker.submit([order])[0]
    return await _result_of(job, **{"X-Seed": str(seed)})


def _add_jobs(app: FastAPI, service: Service) -> None:
    def worker() -> Worker:
        return service.worker

    @app.get(f"{API}/jobs")
    def list_jobs() -> list[JobInfo]:
        """List the jobs in order, without their reports."""
        return [states.job_info(job, worker(), report=False) for job in worker().list()]

    @app.get(f"{API}/jobs/{{id}}")
    def get_job(id: str) -> JobInfo:
        """Say where a job stands, and what came of it."""
        return states.job_info(worker().get(id), worker())

    @app.delete(f"{API}/jobs/{{id}}", status_code=204)
    def delete_job(id: str) -> Response:
        """Cancel a job, or forget one that is over."""
        worker().remove(id)
        return Response(status_code=204)

    @app.get(f"{API}/jobs/{{id}}/events", response_class=Response, responses=openapi.EVENTS)
    async def get_events(id: str) -> Response:
        """Tell of the progress of a job, as server-sent events."""
        job = worker().get(id)
        return StreamingResponse(
            events.events(job, worker()),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    @app.get(f"{API}/jobs/{{id}}/preview", response_class=Response, responses=openapi.PICTURE)
    def get_preview(id: str, n: Number = 0) -> Response:
        """Return the last preview of a job that is worked on."""
        preview = worker().get(id).preview
        if preview is None:
            raise Refusal(404, "there is no preview now")
        return _picture((preview.data, preview.kind))


def _add_results(app: FastAPI, service: Service) -> None:
    def job_of(id: str) -> Job:
        return service.worker.get(id)

    results = f"{API}/jobs/{{id}}/results/{{k}}"

    @app.get(results, response_class=Response, responses=openapi.ANY_FILE)
    def get_result(id: str, k: int, format: str | None = None) -> Response:
        """Return the file of a sample, from 1 on."""
        job = job_of(id)
        return _file(job, _sample(job, k), {}, format, service)

    @app.get(f"{results}/preview", response_class=Response, responses=openapi.PICTURE)
    def get_result_preview(id: str, k: int, side: Side = previews.SIDE) -> Response:
        """Return a small picture of a sample."""
        job = job_of(id)
        return _picture(_saved(job).preview(_sample(job, k), job.about, side))

    @app.get(f"{API}/jobs/{{id}}/uncertainty", response_class=Response, responses=openapi.PNG)
    def get_uncertainty(id: str) -> Response:
        """Return a map of the standard deviation of the samples."""
        data = _spread(job_of(id)).file("uncertainty", None, ".png")
        return Response(data, media_type="image/png")

    @app.get(
        f"{API}/jobs/{{id}}/uncertainty/preview",
        response_class=Response,
        responses=openapi.PICTURE,
    )
    def get_uncertainty_preview(id: str, side: Side = previews.SIDE) -> Response:
        """Return a small map of the standard deviation."""
        values = previews.heat(_spread(job_of(id)).deviations, side)
        return _picture(previews.encoded(values, None, None, side))

    @app.get(f"{API}/jobs/{{id}}/veil", response_class=Response, responses=openapi.PNG)
    def get_veil(id: str, side: Side = previews.SIDE) -> Response:
        """Return an image that lies over the result, opaque where the samples differ."""
        data = previews.veil(_spread(job_of(id)).deviations, side)
        return Response(data, media_type="image/png")

    @app.get(f"{API}/jobs/{{id}}/compare", response_class=Response, responses=openapi.PNG)
    def get_compare(id: str) -> Response:
        """Return the image before and after, side by side."""
        job = job_of(id)
        saved = _saved(job)
        source = job.order.source
        if not isinstance(source, Image):
            raise Refusal(404, "this job has no image to compare with")
        data = saved.file("compare", _read(source, service), ".png")
        return Response(data, media_type="image/png")


def _read(source: Upload, service: Service) -> files.File:
    with reading(), source.open() as stream:
        return files.read(stream, service.config.limits.pixels)


def _saved(job: Job) -> Saved:
    """Return the result of a job that is done, and is an image."""
    if job.saved is None or job.saved.count == 0:
        raise Refusal(404 if job.over else 409, f"this job has no image; it is {job.state}")
    return job.saved


def _spread(job: Job) -> Saved:
    saved = _saved(job)
    if not saved.has_std:
        raise Refusal(404, "one sample has no deviation; ask for several samples")
    return saved


def _sample(job: Job, k: int) -> int:
    """Return the number of a sample, from 0 on, of one from 1 on."""
    if job.saved is None:
        raise Refusal(404 if job.over else 409, f"this job has no result; it is {job.state}")
    if not 1 <= k <= job.result_count:
        raise Refusal(404, f"the samples of this job are 1 to {job.result_count}")
    return k - 1


def _file(
    job: Job,
    k: int,
    headers: dict[str, str],
    word: str | None = None,
    service: Service | None = None,
) -> Response:
    """Return the file of a sample, as it was made, or in another format."""
    suffix = job.order.suffix
    if word is not None:
        suffix = suffix_of(job.order.form, word)
    name = job.order.name(k, job.result_count, suffix)
    kind = KINDS.get(suffix, "application/octet-stream")
    if suffix == job.order.suffix:
        return FileResponse(job.result_path(k), media_type=kind, headers=_named(name) | headers)
    assert service is not None
    source = job.order.source
    file = _read(source, service) if isinstance(source, Image) else None
    try:
        data = _saved(job).file(k, file, suffix)
    except ValueError as error:
        raise Refusal(400, describe(error)) from error
    return Response(data, media_type=kind, headers=_named(name) | headers)


def _picture(picture: tuple[bytes, str]) -> Response:
    return Response(picture[0], media_type=picture[1])


def _named(name: str) -> dict[str, str]:
    """Return the header that says what a file is called."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)
    return {"Content-Disposition": f"inline; filename=\"{plain}\"; filename*=utf-8''{quote(name)}"}


class _Pages(StaticFiles):
    """The files of the page, which a browser asks for anew."""

    def file_response(self, *arguments: Any, **more: Any) -> Response:
        response = super().file_response(*arguments, **more)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def index() -> Response:
        if not (PAGE / "index.html").exists():
            raise Refusal(404, "this server has no page")
        return FileResponse(
            PAGE / "index.html", media_type="text/html", headers={"Cache-Control": "no-cache"}
        )

    app.mount("/page", _Pages(directory=PAGE, check_dir=False), name="page")

"""One worker: order, limits, progress, cancel, and clients that come and go."""

import asyncio
import json
import threading
import time

import httpx
import numpy as np
import pytest

from diffprior.server import jobs as module
from diffprior.server.limits import Limits
from diffprior.server.service import Config

from support.web import API, FAST, TOKEN, over, picture, pixels, png, sentence, serving, upload

IMAGE = png(picture(8, 8, 3))


@pytest.fixture(scope="module")
def short():
    """A client of a server with a queue of four."""
    with serving(Config(token=TOKEN, limits=Limits(jobs=4))) as client:
        yield client


def post(client: httpx.Client, **form: str) -> dict:
    answer = client.post(f"{API}/denoise", data=FAST | form, files={"image": ("a.png", IMAGE)})
    assert answer.status_code == 202, answer.text
    return answer.json()


def wait_until(true, patience=20):
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def wait_for(client, job, state):
    wait_until(lambda: client.get(f"{API}/jobs/{job}").json()["state"] == state)


def events_of(client, job):
    """Yield the events of a job as pairs of a name and data."""
    with client.stream("GET", f"{API}/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


def test_jobs_are_done_in_order_and_the_queue_has_an_end(short, gate):
    first = post(short)
    wait_for(short, first["job"], "running")
    others = [post(short) for _ in range(4)]
    assert [ticket["position"] for ticket in others] == [2, 3, 4, 5]
    full = short.post(f"{API}/denoise", data=FAST, files={"image": ("a.png", IMAGE)})
    assert sentence(full, 429) == "4 jobs wait, and 4 may; try again later"
    assert int(full.headers["retry-after"]) > 0
    assert short.get(f"{API}/server").json()["queue"] == 5
    gate.set()
    infos = [over(short, ticket["job"]) for ticket in (first, *others)]
    assert [info["state"] for info in infos] == ["done"] * 5
    listed = [info["job"] for info in short.get(f"{API}/jobs").json()]
    assert listed[-4:] == [ticket["job"] for ticket in others]
    assert all(info["report"] is None for info in short.get(f"{API}/jobs").json())
    begun = [short.service.worker.get(job).began for job in listed]
    assert begun == sorted(begun)
    assert len(listed) == 4  # as many as may wait are remembered
    assert len(list(short.service.folder.glob("*.job"))) == 4


def test_a_job_that_waits_is_canceled_at_once_and_one_at_work_at_its_next_step(short, gate):
    first, second, third = post(short), post(short), post(short)
    wait_for(short, first["job"], "running")
    assert short.delete(second["url"]).status_code == 204
    info = short.get(second["url"]).json()
    assert info["state"] == "canceled" and info["seconds"] == 0 and info["position"] == 0
    assert short.get(third["url"]).json()["position"] == 2
    assert short.delete(first["url"]).status_code == 204
    assert over(short, first["job"], 5)["state"] == "canceled"
    sentence(short.get(f"{first['url']}/results/1"), 404)
    gate.set()
    assert over(short, third["job"])["state"] == "done"
    assert short.delete(first["url"]).status_code == 204  # it is forgotten now
    sentence(short.get(first["url"]), 404)
    sentence(short.delete(first["url"]), 404)
    assert not [p for p in short.service.folder.glob("*.job") if p.stem == first["job"]]


def test_events_begin_with_the_state_and_end_with_the_whole(client, gate, monkeypatch):
    monkeypatch.setattr(module, "EACH", 0.05)
    ticket = post(client)
    told = []
    for name, data in events_of(client, ticket["job"]):
        told.append((name, data))
        previews = [data for name, data in told if name == "preview"]
        if len(previews) == 2:
            picture_ = client.get(previews[1]["url"])
            if picture_.status_code == 200:  # or the work went on meanwhile
                assert pixels(picture_.content).shape == (8, 8, 3)
                assert (pixels(picture_.content) == 128).all()
            gate.set()
    names = [name for name, _ in told]
    assert names[0] == "state" and told[0][1]["report"] is None
    assert names[-1] == "done" and told[-1][1]["report"]["task"] == "denoise"
    assert told[-1][1] == client.get(ticket["url"]).json()
    shares = [data["share"] for name, data in told if name == "progress"]
    assert len(shares) > 2 and shares == sorted(shares)
    left = [d["seconds_left"] for n, d in told if n == "progress" and d["seconds_left"]]
    assert left and all(seconds > 0 for seconds in left)
    assert previews_boxes(told) == {(0, 0, 8, 8)}
    late = list(events_of(client, ticket["job"]))  # as after a reload of the page
    assert [name for name, _ in late] == ["state", "done"] and late[-1][1] == told[-1][1]


def previews_boxes(told):
    return {tuple(data["box"]) for name, data in told if name == "preview"}


def test_a_preview_says_where_in_the_image_it_is(client, monkeypatch):
    """The known pixels of each state are those of the image at that place."""
    image = picture(420, 500, 3, seed=5)
    hole = np.zeros((420, 500), np.uint8)
    hole[20:26, 20:30] = hole[390:396, 470:480] = 255
    seen = []
    step = module.Job.step

    def look(self, x, share):
        left, top, width, height = self._box(x)
        part = image[top : top + height, left : left + width]
        known = hole[top : top + height, left : left + width] == 0
        mine = ((x[0].movedim(0, -1).float().numpy() + 1) * 127.5)[known]
        seen.append(((left, top), float(np.abs(mine - part[known]).max())))
        step(self, x, share)

    monkeypatch.setattr(module.Job, "step", look)
    sent = {"image": ("a.png", png(image)), "mask": ("m.png", png(hole))}
    form = {"fill": "smooth", "steps": "2", "wait": "true"}
    answer = client.post(f"{API}/inpaint", data=form, files=sent)
    assert answer.status_code == 200, answer.text
    assert len({place for place, _ in seen}) == 2  # the two holes have a window each
    assert max(error for _, error in seen) < 0.01


def test_work_goes_on_when_its_client_is_gone(client, gate):
    ticket = post(client)
    with httpx.Client(base_url=client.base_url, headers=client.headers) as other:
        with other.stream("GET", ticket["events"]) as answer:
            next(answer.iter_lines())
        with pytest.raises(httpx.ReadTimeout):
            other.post(
                f"{API}/denoise",
                data=FAST | {"wait": "true"},
                files={"image": ("gone.png", IMAGE)},
                timeout=0.3,
            )
    gate.set()
    assert over(client, ticket["job"])["state"] == "done"
    last = client.get(f"{API}/jobs").json()[-1]
    assert last["name"] == "gone.png" and over(client, last["job"])["state"] == "done"


def test_twenty_clients_at_once_get_their_own_results(client):
    images = [picture(8, 8, 3, seed=k) for k in range(20)]

    async def ask(http: httpx.AsyncClient, k: int) -> np.ndarray:
        answer = await http.post(
            f"{API}/denoise",
            data=FAST | {"wait": "true"},
            files={"image": (f"{k}.png", png(images[k]))},
        )
        assert answer.status_code == 200, answer.text
        assert f'filename="{k}.denoised.png"' in answer.headers["content-disposition"]
        return pixels(answer.content)

    async def all_of_them() -> list[np.ndarray]:
        url, headers = client.base_url, client.headers
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http:
            return list(await asyncio.gather(*(ask(http, k) for k in range(20))))

    results = asyncio.run(all_of_them())
    errors = [
        [float(np.abs(result.astype(float) - image).mean()) for image in images]
        for result in results
    ]
    assert [int(np.argmin(row)) for row in errors] == list(range(20))


def test_an_image_that_was_forgotten_is_still_there_for_its_jobs(client, gate):
    image = upload(client, IMAGE, "kept.png")["id"]
    ticket = client.post(f"{API}/denoise", data={"image": image, **FAST}).json()
    client.delete(f"{API}/images/{image}")
    gate.set()
    info = over(client, ticket["job"])
    assert info["state"] == "done", info
    assert client.get(info["compare"]).status_code == 200
    client.delete(ticket["url"])
    assert not list(client.service.folder.glob(f"{image}*"))


def test_a_finder_does_not_wait_for_the_queue(client, gate):
    first, second = post(client), post(client)
    wait_for(client, first["job"], "running")
    image = upload(client, IMAGE)["id"]
    found: list[httpx.Response] = []

    def ask() -> None:
        found.append(client.post(f"{API}/masks/color", data={"image": image, "color": "red"}))

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.1)
    client.delete(first["url"])
    thread.join(20)
    assert found[0].status_code == 200, found[0].text
    assert client.get(second["url"]).json()["state"] in ("queued", "running")
    gate.set()
    assert over(client, second["job"])["state"] == "done"


def test_memory_and_disk_stay_flat(short):
    """The files of fifteen jobs, of which four are remembered."""
    for k in range(15):
        answer = short.post(
            f"{API}/denoise",
            data=FAST | {"wait": "true"},
            files={"image": (f"{k}.png", IMAGE)},
        )
        assert answer.status_code == 200
    wait_until(lambda: len(short.service.worker.jobs) == 4)  # the oldest goes after the answer
    assert len(list(short.service.folder.glob("*.job"))) == 4
    assert len(list(short.service.folder.glob("*.file"))) == 4


def test_the_end_of_a_server_cancels_its_work_and_removes_its_folder(gate):
    with serving() as client:
        ticket = post(client)
        wait_for(client, ticket["job"], "running")
        waiting = post(client)
        service = client.service
        folder = service.folder
        jobs = [service.worker.get(each["job"]) for each in (ticket, waiting)]
        assert folder.exists()
    assert [job.state for job in jobs] == ["canceled", "canceled"]
    assert not folder.exists()

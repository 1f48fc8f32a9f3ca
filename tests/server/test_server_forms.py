"""The forms: what the tables say that no signature does is true of the tasks."""

import inspect

import pytest

from diffprior.cli import index
from diffprior.runtime.signature import _from_files
from diffprior.server.forms import CHOICES, FILES, MASKS, PRIVATE, RANGES, TABS, forms

from support.web import API, picture, png, sentence


def test_every_task_has_a_form_with_all_its_settings_but_those_of_the_server(client):
    tasks = {name for name, c in index.commands().items() if c.options is not None}
    assert set(forms()) == tasks
    for name, form in forms().items():
        options = {option.name for option in form.command.options}
        assert {field.name for field in form.fields} == options - {*PRIVATE}, name
        assert all(field.help and field.label for field in form.fields)
    listed = client.get(f"{API}/tasks").json()
    assert [task["name"] for task in listed] == list(forms())
    assert [task["tab"] for task in listed if task["tab"]] == list(TABS.values())
    assert listed[0]["name"] == "inpaint" and listed[0]["past"] == "inpainted"
    assert [o["name"] for o in listed[0]["options"] if o["common"]] == ["mask", "fill", "samples"]


@pytest.mark.parametrize("name", forms())
def test_masks_are_the_parameters_that_are_masks(name):
    form = forms()[name]
    notes = _from_files(inspect.signature(form.command.load().__wrapped__))
    masks = {name for name, note in notes.items() if note.is_mask}
    assert {field.name for field in form.fields if field.kind == "mask"} == masks
    assert masks <= {*MASKS}
    images = {field.name for field in form.fields if field.kind == "image"}
    assert images - {"control_image"} == notes.keys() - masks


def test_the_tables_name_what_there_is():
    for task, name in (*CHOICES, *FILES):
        assert forms()[task].field(name) is not None, (task, name)
    names = {field.name for form in forms().values() for field in form.fields}
    assert RANGES.keys() <= names


@pytest.mark.parametrize(("task", "name"), CHOICES)
def test_a_choice_is_what_the_task_takes(client, task, name):
    more = {
        "deblur": {"kernel": "uniform:3", "sigma": "0.1"},
        "restore": {"blur": "uniform:3", "sigma": "0.1"},
        "dejpeg": {"quality": "60"},
        "upscale": {"scale": "2"},
    }
    for value in CHOICES[task, name]:
        form = {"steps": "1", "wait": "true", name: value, **more.get(task, {})}
        sent = {"image": ("a.png", png(picture(32, 32, 3)))}
        if task == "inpaint":
            hole = picture(32, 32) * 0
            hole[4:7, 4:7] = 255
            sent["mask"] = ("m.png", png(hole))
        answer = client.post(f"{API}/{task}", data=form, files=sent)
        assert answer.status_code == 200, (value, answer.text)
    answer = client.post(f"{API}/{task}", data={name: "wish"}, files=sent)
    assert f"{name} is one of {CHOICES[task, name][0]}" in sentence(answer, 422)


def test_openapi_says_the_settings_of_a_task(client):
    paths = client.get(f"{API}/openapi.json").json()["paths"]
    body = paths[f"{API}/inpaint"]["post"]["requestBody"]["content"]
    schema = body["multipart/form-data"]["schema"]
    assert schema["properties"]["fill"]["enum"] == ["auto", "smooth", "texture", "structure"]
    assert schema["properties"]["samples"] | {"description": ""} == {
        "type": "integer",
        "minimum": 1,
        "maximum": 10_000,
        "default": 1,
        "description": "",
    }
    assert schema["required"] == ["image"] and "prior" not in schema["properties"]
    assert "sd_seed" in body["application/json"]["schema"]["properties"]
    assert {"202", "200", "401", "413", "422", "429"} <= paths[f"{API}/inpaint"]["post"][
        "responses"
    ].keys()
    assert f"{API}/masks/scratches" in paths

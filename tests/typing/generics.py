"""What a type checker knows of results by id and of futures of services. Read by mypy; not run.

An ignored error that does not come is an error itself.
"""
from __future__ import annotations

from typing import Any

from atasker_like import AsyncResult, StoredResult, SyncResult, TaskOptions, TaskResult, service


class Double(service.Task):
    number: int

    @property
    def hidden_fields(self) -> set[str]:
        return super().hidden_fields | {"number"}


class Login(service.Task):
    hidden_fields = {"password"}

    password: str


async def results(untyped: AsyncResult) -> None:
    value: int = await AsyncResult[int]("id").get()
    text: str = await AsyncResult[int]("id").get()          # type: ignore[assignment]
    anything: str = await AsyncResult("id").get()
    cancelled: bool = await AsyncResult("id").cancel()
    stored: StoredResult = SyncResult("id").info()
    number: int = SyncResult[int]("id").get()
    del value, text, anything, cancelled, stored, number, untyped


async def futures(client: service.Client) -> None:
    future = await client.request("lab", Double(21))
    result: service.TaskResult = await future
    status: str = result.status
    number: int = await service.TaskFuture[int]("id")
    text: str = await service.TaskFuture[int]("id")         # type: ignore[assignment]
    del status, number, text


def made() -> tuple[Any, ...]:
    return (service.TaskResultOk(id="1", result=5),
            service.TaskResultError(id="1", ename="E", evalue="v", traceback="t"),
            TaskResult(task_id="1", name="n", status="succeeded", value=1),
            TaskResult(name="n", status="succeeded"),       # type: ignore[call-arg]
            TaskOptions(retry_on=["ValueError", KeyError], ignore_on="package.module.Error"))

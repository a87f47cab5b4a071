"""A FastAPI application whose tasks outlive their requests."""
import asyncio
from contextlib import asynccontextmanager

from fastapi import FastAPI

import reports
from atasker_like import TT_MP, background_task, task_supervisor

write = background_task(reports.write)              # in a thread
count = background_task(reports.count, tt=TT_MP)    # in a process


@asynccontextmanager
async def lifespan(app):
    yield
    # The server ends by the signal itself after this, so no exit handler of Python runs.
    await asyncio.get_running_loop().run_in_executor(None, task_supervisor.stop, 25)


app = FastAPI(lifespan=lifespan)


@app.post("/reports/{number}")
async def accept(number: int):
    write(number)                       # returns at once
    count(number)
    return {"accepted": number}


@app.get("/sums/{number}")
async def add_up(number: int):
    return {"sum": await background_task(reports.add_up, tt=TT_MP)(number)}

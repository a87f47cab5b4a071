"""A FastAPI application whose tasks outlive their requests."""
import asyncio
from contextlib import asynccontextmanager

from fastapi import FastAPI

import reports
from atasker_like import TT_MP, background_task, task_supervisor

# in a thread
write = background_task(reports.write)
# in a process
count = background_task(reports.count, tt=TT_MP)


@asynccontextmanager
async def lifespan(app):
    yield
    # uvicorn ends by the signal after this, and Python calls no exit handler
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, task_supervisor.stop, 25)


app = FastAPI(lifespan=lifespan)


@app.post("/reports/{number}")
async def accept(number: int):
    # returns at once
    write(number)
    count(number)
    return {"accepted": number}


@app.get("/sums/{number}")
async def add_up(number: int):
    return {"sum": await background_task(reports.add_up, tt=TT_MP)(number)}

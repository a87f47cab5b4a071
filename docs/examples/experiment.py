"""A client of laboratory.py, which must run already:

    python3 docs/examples/experiment.py /tmp/lab.sock
"""
import asyncio
import sys

from laboratory import Calibrate, Progress, Simulate

from atasker_like import service


async def main(address):
    async with service.Client(address) as client:
        urgent = await client.request("lab", Calibrate(7), priority=0)      # accepted, not done
        found = await asyncio.gather(*[client.execute("lab", Calibrate(qubit, span=0.5))
                                       for qubit in range(3)])
        print("found", [result.result["frequency"] for result in found])
        print("urgent", (await urgent).result)
        print("simulated", len((await client.execute(Simulate([1, 2, 3]))).result))

        try:
            await client.execute(Calibrate(qubit=3, span="wide"))
        except service.InvalidFieldError as error:
            print("not sent:", error)
        print("done", (await client.execute(Progress())).result)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

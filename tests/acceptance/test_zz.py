import time
from fixtures.installations import *
def test_hung(installation):
    with installation.paused("valkey"):
        for _ in range(3):
            t=time.monotonic(); 
            try: print(installation.request("POST", "/api/commands/todo.add/executions", {"inputs": {"body": "x"}}).status)
            except Exception as e: print(repr(e))
            print("submit with hung valkey", time.monotonic()-t)
        t=time.monotonic(); print(installation.request("GET", "/readyz").status, time.monotonic()-t)
        t=time.monotonic(); print(installation.request("GET", "/api/executions").status, time.monotonic()-t)
    time.sleep(3)
    print(installation.rows("select state, count(*) from command_executions group by 1"))
    t=time.monotonic(); print(installation.run("todo.add", {"body": "x"})["state"], time.monotonic()-t)
    print(installation.rows("select state, count(*) from command_executions group by 1"))
    assert 0

"""What the program of examples/bare printed, held to the documented sample and to a signature that is computed here anew."""

import hashlib
import hmac
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
body, *lines = sys.stdin.read().splitlines()
assert len(body) == 338 and body == (ROOT / "tests/vectors/workloads/W1.json").read_text().strip(), body

headers = dict(line.split(": ", 1) for line in lines if ": " in line)
signed = ["content-type", "host", "x-project-id", "x-sdk-date"]
values = {name.lower(): value for name, value in headers.items()}
assert sorted(values) == sorted([*signed, "authorization"]), values
canonical = ["POST", f"/v1/{values['x-project-id']}/edgesrv/job-report/", "", *(f"{name}:{values[name]}" for name in signed), ""]
canonical += [";".join(signed), hashlib.sha256(body.encode()).hexdigest()]
request = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
to_sign = f"SDK-HMAC-SHA256\n{values['x-sdk-date']}\n{request}"
signature = hmac.new(b"EXAMPLESK", to_sign.encode(), hashlib.sha256).hexdigest()
wanted = f"SDK-HMAC-SHA256 Access=EXAMPLEAK, SignedHeaders={';'.join(signed)}, Signature={signature}"
assert values["authorization"] == wanted, (values["authorization"], wanted)

rest = [line for line in lines if ": " not in line]
assert rest[:4] == ["again not sent ", "again APIGW.0308 later", "delivered", "delivered 1 of 1"], rest
sizes = dict(line.split() for line in rest[4:])
assert sorted(sizes) == ["flash", "stack", "static"] and all(int(size) > 0 for size in sizes.values()), rest
print("examples/bare: " + ", ".join(f"{name} {size} bytes" for name, size in sizes.items()))

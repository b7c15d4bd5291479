"""`@step`: a KFP component that runs in our image and installs nothing.

Parameters that occur in several steps mean the same everywhere:

- `spec`: the model spec as JSON;
- `now`: the time at which the run takes place, ISO 8601 UTC; nothing known later is used;
- `run_id`: the run that the step belongs to;
- `key`: key of the claim that the run carries out, and `token` its fencing token: what is written under an older one is refused;
- `champion`: digest of the champion's version folder, empty when there is none.
"""

import functools

from kfp import dsl

IMAGE = "perennial-steps:python3.11"
"""Image of every step. The local runner never pulls it; it wants the word *python* in the name."""

step = functools.partial(dsl.component, base_image=IMAGE, packages_to_install=[], install_kfp_package=False)

"""`python -m serving.runtime`: serve one model. What must be true before anything else is imported; the rest is `command`."""

from serving.runtime.refusal import install

install()

if __name__ == "__main__":
    import os
    import sys

    # One thread of OpenMP and BLAS: with two, single calls stalled for up to a second. They read it when they are loaded.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

    from serving.runtime.command import main

    sys.exit(main())

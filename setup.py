"""The part of the package that is compiled; all else about it is in setup.cfg."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "ranktag.compute.kernels",
            ["ranktag/compute/kernels.c"],
            # -fno-...: nobody looks at what they would set, and they keep loops from being vectorised.
            extra_compile_args=["-O3", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"],
            extra_link_args=["-fopenmp"],
            py_limited_api=True,
            # Without a compiler ranktag installs all the same, and torch's operations take its place.
            optional=True,
        )
    ]
)

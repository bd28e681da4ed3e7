"""The one thing that pyproject.toml can't say: the top-level `templates/` folder travels inside
`ami_integration`.

In a checkout, templates live beside the code (design: `templates/ami_integration/<room>/`) and settings name
that folder. In a wheel a top-level folder `templates` would land loose in site-packages, so it becomes
`ami_integration/templates`, where Django's app loader looks.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["amiweb", "amiweb.*", "ami_integration", "ami_integration.*"]),
        "ami_integration.templates",
    ],
    package_dir={"ami_integration.templates": "templates"},
)

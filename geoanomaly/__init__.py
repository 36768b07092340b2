"""What an anomaly is: areas, scenes, sensors, models, scores, jobs and the command line.

Nearly empty on purpose: importing the package must stay cheap, and torch is
imported only by the modules that run a network.
"""

__version__ = "0.1.0"

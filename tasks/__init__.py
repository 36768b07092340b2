"""The Celery edge: a broker message is only a doorbell that carries the id of a job.

What is to be done, by whom, and how far it is stands in the job store. A message may
come late, twice or never: the lease of the store keeps two workers off one job, and
the sweep rings again for whatever was lost.
"""

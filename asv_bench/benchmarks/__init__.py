"""Benchmarks.  The names of classes, methods and parameters are those of published time series: never rename one."""

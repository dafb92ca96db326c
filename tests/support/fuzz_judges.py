"""Judges of files for a process of its own, each of which fails at the seventh file."""

import os
import time

from benchmarks.fuzz import READ

FAILING = 6


def judge_crash(seed, index, folder):
    if index == FAILING:
        os.abort()
    return READ


def judge_hang(seed, index, folder):
    if index == FAILING:
        time.sleep(60)
    return READ


def judge_memoryerror(seed, index, folder):
    if index == FAILING:
        try:
            return str(len(bytes(2**36)))
        except MemoryError:
            return "MemoryError"
    return READ

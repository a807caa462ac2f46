package main

const diskFullError = errorDiskFull

package main

import "errors"

var (
	errInUse   = errors.New("folder is in use")                          // another process has the lock
	errMissing = errors.New("the host does not have it")                 // an attachment
	errContent = errors.New("content is not the one that its hash says") // an attachment
)

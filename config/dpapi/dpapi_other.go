//go:build !windows

package dpapi

func supported() error { return ErrNotWindows }

func protect([]byte, Scope) ([]byte, error) { return nil, ErrNotWindows }

func unprotect([]byte) ([]byte, error) { return nil, ErrNotWindows }

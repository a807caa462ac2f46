package dpapi

import (
	"bytes"
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// purpose is bound to the secret, so that what another program protected is not taken for one.
const purpose = "hostd secret 1"

func supported() error { return nil }

func protect(secret []byte, scope Scope) ([]byte, error) {
	flags := uint32(windows.CRYPTPROTECT_UI_FORBIDDEN) // a service has nobody to ask
	if scope == Machine {
		flags |= windows.CRYPTPROTECT_LOCAL_MACHINE
	}
	var out windows.DataBlob
	if err := windows.CryptProtectData(blob(secret), nil, blob([]byte(purpose)), 0, nil, flags, &out); err != nil {
		return nil, err
	}
	return take(&out)
}

func unprotect(sealed []byte) ([]byte, error) {
	var out windows.DataBlob
	err := windows.CryptUnprotectData(blob(sealed), nil, blob([]byte(purpose)), 0, nil, windows.CRYPTPROTECT_UI_FORBIDDEN, &out)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrElsewhere, err)
	}
	return take(&out)
}

// blob lends b to Windows for a call; nil and empty are no bytes.
func blob(b []byte) *windows.DataBlob {
	return &windows.DataBlob{Size: uint32(len(b)), Data: unsafe.SliceData(b)}
}

// take copies what Windows made, and gives its memory back.
func take(out *windows.DataBlob) ([]byte, error) {
	b := bytes.Clone(unsafe.Slice(out.Data, out.Size))
	if _, err := windows.LocalFree(windows.Handle(unsafe.Pointer(out.Data))); err != nil {
		return nil, err
	}
	return b, nil
}

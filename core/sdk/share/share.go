// Package share reaches a folder on a Windows share for a service whose own account has no right there, and says in words
// what an error of a share means. The package uses the standard library only.
package share

import (
	"errors"
	"runtime"
	"strings"
	"syscall"
)

// ErrNotWindows says that a share was to be logged on to where shares are mounted by the system.
var ErrNotWindows = errors.New("user and password of a share are for Windows: on this system mount the share and write its folder")

// Root is the \\server\share of a UNC path, in any spelling of its slashes; empty where path is none.
func Root(path string) string {
	path = strings.ReplaceAll(path, "/", `\`)
	path, ok := strings.CutPrefix(path, `\\`)
	if rest, long := strings.CutPrefix(path, `?\UNC\`); ok && long {
		path = rest
	}
	parts := strings.SplitN(path, `\`, 3)
	if !ok || len(parts) < 2 || parts[0] == "" || parts[1] == "" || parts[0] == "." || parts[0] == "?" {
		return ""
	}
	return `\\` + parts[0] + `\` + parts[1]
}

// Explain says what an error of a share means on Windows, and what to do about it; empty for an error that says enough by
// itself, and on other systems.
func Explain(err error) (wrong, do string) {
	var number syscall.Errno
	if runtime.GOOS != "windows" || !errors.As(err, &number) {
		return "", ""
	}
	return words(uintptr(number))
}

// Advice that is given more than once.
const (
	seeName    = "check the server's and the share's name in dir, the network, and that the server lets this computer in (file and printer sharing)"
	seeAccount = "put the account right on the server, and see user and password of this device"
	seeLogin   = "check user (DOMAIN\\name, or SERVER\\name for an account of the server itself) and password of this device; " +
		"where neither is written, it is the account of the hostd service that the server does not know: write them, or let the service run as an account with rights on the share"
)

// words explains the numbers of Windows' errors (Microsoft, winerror.h).
func words(number uintptr) (wrong, do string) {
	switch number {
	case 5: // ERROR_ACCESS_DENIED
		return "access is denied: the server knows the account, and it has no right here", "give it the right to read and change on the share and on its folder: " +
			"the user of this device where one is written, else the account of the hostd service"
	case 53, 1203, 1222, 1231: // ERROR_BAD_NETPATH, _NO_NET_OR_BAD_PATH, _NO_NETWORK, _NETWORK_UNREACHABLE
		return "the server cannot be reached", seeName
	case 67: // ERROR_BAD_NET_NAME
		return "the server has no share of this name", seeName
	case 51, 59, 64, 121: // ERROR_REM_NOT_LIST, _UNEXP_NET_ERR, _NETNAME_DELETED, _SEM_TIMEOUT
		return "the connection to the server is gone", "see whether server and network are up: it is tried again by itself"
	case 86, 1326, 2202: // ERROR_INVALID_PASSWORD, ERROR_LOGON_FAILURE, ERROR_BAD_USERNAME
		return "the server does not take the user name or the password", seeLogin
	case 1219: // ERROR_SESSION_CREDENTIAL_CONFLICT
		return "this account is already connected to the server as another user", "Windows allows one user for each server: give all devices of this server the same user, " +
			"end other connections of the service's account (net use), or write the server's address in place of its name"
	case 1272, 384: // ERROR_SMB_GUEST_LOGON_BLOCKED, ERROR_SMB1_NOT_AVAILABLE
		return "Windows refuses a share without login, or of the old protocol SMB 1", "give the share an account and SMB 2 or later, and write user and password of this device"
	case 1327, 1328, 1329: // ERROR_ACCOUNT_RESTRICTION, ERROR_INVALID_LOGON_HOURS, ERROR_INVALID_WORKSTATION
		return "the account may not log on like this: an empty password, hours or computers that are not allowed", seeAccount
	case 1330, 1907: // ERROR_PASSWORD_EXPIRED, ERROR_PASSWORD_MUST_CHANGE
		return "the password of the account has expired", seeAccount
	case 1331, 1909: // ERROR_ACCOUNT_DISABLED, ERROR_ACCOUNT_LOCKED_OUT
		return "the account is disabled or locked out", seeAccount
	}
	return "", ""
}

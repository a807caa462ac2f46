package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/hostd/hostd/core/internal/admin"
)

// Windows' numbers for EADDRINUSE, EACCES and EADDRNOTAVAIL.
const (
	windowsInUse    = syscall.Errno(10048)
	windowsRefused  = syscall.Errno(10013)
	windowsNotOwned = syscall.Errno(10049)
)

// listen takes the address for a moment.
func listen(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return l.Close()
}

// listenFinding says what became of listening at an address; key is where the configuration has it.
func listenFinding(probe, addr, key string, err error) Finding {
	if err == nil {
		return ok(probe, addr, "the port is free (%s)", key)
	}
	_, port, _ := net.SplitHostPort(addr) // it was listened at
	f := Finding{probe, addr, VerdictFault, "", "write another port as " + key}
	is := func(list ...error) bool {
		for _, e := range list {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	which := "ss -ltnp sport = :" + port
	if runtime.GOOS == "windows" {
		which = "netstat -abno"
	}
	switch {
	case is(syscall.EADDRINUSE, windowsInUse):
		f.Text = "the port is in use by another program"
		f.Do = "end that one (" + which + " names it), or " + f.Do
	case is(windowsRefused):
		f.Text = "Windows keeps the port for itself, or another program has it alone"
		f.Do += ": netsh interface ipv4 show excludedportrange protocol=tcp has the ranges that are kept"
	case is(syscall.EACCES):
		f.Text = "this account may not listen at the port: those below 1024 are the system's"
	case is(syscall.EADDRNOTAVAIL, windowsNotOwned):
		f.Text = "this computer does not have the address"
		f.Do = "write an address of this computer, or 0.0.0.0 for all of them, as " + key
	default:
		f.Text = "nobody can listen there: " + err.Error()
	}
	return f
}

// port looks at admin.listen.
func (dr *doctor) port(ctx context.Context) []Finding {
	const key = "admin.listen"
	addr := dr.cfg.Admin.Listen
	if admin.CheckListen(addr) != nil {
		return nil // a fault of the configuration, told as such
	}
	err := listen(ctx, addr)
	if err != nil {
		switch s, asked := dr.status(); {
		case asked == nil && s.DataDir == dr.places.data:
			return []Finding{ok(probePort, addr, "the running hostd has it (%s)", key)}
		case asked == nil:
			return []Finding{{probePort, addr, VerdictFault, "the port is in use by the hostd with data_dir " + s.DataDir, "write another port as " + key}}
		}
	}
	return []Finding{listenFinding(probePort, addr, key, err)}
}

// listenAt is where a device listens, and the setting that says so: listen, or port with listen:// before the address.
func listenAt(settings map[string]any) (addr, key string) {
	if addr, _ = settings["listen"].(string); addr != "" {
		return addr, "listen"
	}
	port, _ := settings["port"].(string) // of a serial line it is no address
	if addr, listens := strings.CutPrefix(port, "listen://"); listens {
		return addr, "port"
	}
	return "", ""
}

// listens looks at the addresses of devices that listen, where their setting is called so.
func (dr *doctor) listens(ctx context.Context) (list []Finding) {
	running, _ := dr.running() // an error is told by the probe of the host
	for i := range dr.cfg.Devices {
		addr, setting := listenAt(dr.cfg.Devices[i].Settings)
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			continue
		}
		key := fmt.Sprintf("settings.%s of device %s", setting, dr.cfg.Devices[i].Name)
		if running {
			list = append(list, ok(probeListen, addr, "hostd runs, and its device says whether it has the port (%s)", key))
			continue
		}
		list = append(list, listenFinding(probeListen, addr, key, listen(ctx, addr)))
	}
	return list
}

// comPort is the name of a serial port of Windows.
var comPort = regexp.MustCompile(`(?i)^(\\\\\.\\)?COM[0-9]{1,3}:?$`)

// serial looks whether the serial ports of devices are there: a setting port with the name of one is meant.
func (dr *doctor) serial(context.Context) (list []Finding) {
	for i := range dr.cfg.Devices {
		name, _ := dr.cfg.Devices[i].Settings["port"].(string)
		windows := comPort.MatchString(name)
		if !windows && !strings.HasPrefix(name, "/dev/") {
			continue
		}
		subject := "device " + dr.cfg.Devices[i].Name
		if windows != (runtime.GOOS == "windows") {
			list = append(list, Finding{probeSerial, subject, VerdictFault, name + " is the name of a serial port of another system", serialHint()})
			continue
		}
		switch err := lookAtSerial(name); {
		case err == nil:
			list = append(list, ok(probeSerial, subject, "%s is there", name))
		case errors.Is(err, fs.ErrNotExist):
			list = append(list, Finding{
				probeSerial, subject, VerdictFault, "there is no serial port " + name,
				"see whether the cable or its USB adapter is plugged in and has its driver; " + serialHint(),
			})
		case errors.Is(err, fs.ErrPermission):
			list = append(list, Finding{
				probeSerial, subject, VerdictFault, "this account may not use " + name,
				"give the account that runs hostd the right to use it; on Linux it must be in the group of the file, most often dialout",
			})
		default:
			list = append(list, Finding{probeSerial, subject, VerdictFault, name + " cannot be used: " + err.Error(), serialHint()})
		}
	}
	return list
}

// serialHint says what may be written as a port.
func serialHint() string {
	names := serialPorts()
	if len(names) == 0 {
		return "no serial port was found on this computer"
	}
	const most = 20
	return "the serial ports of this computer are " + strings.Join(names[:min(len(names), most)], ", ") + ": write one of them as settings.port"
}

// Ports at which plugins listen for the host on Windows: each takes the first that it can have (go-plugin 1.8, client.go).
const (
	pluginPortFirst = 10000
	pluginPortLast  = 25000
)

// fewPorts are so many that could not be had before one that could as to be worth a word.
const fewPorts = 1000

// loopback looks whether a plugin gets a port of the range on this computer's own address, and whether the host reaches it there.
func loopback(ctx context.Context, first, last int) []Finding {
	subject := fmt.Sprintf("127.0.0.1:%d-%d", first, last)
	kept, taken := 0, 0
	var lc net.ListenConfig
	for port := first; port <= last && ctx.Err() == nil; port++ {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := lc.Listen(ctx, "tcp", addr)
		switch {
		case err == nil:
			return []Finding{reached(ctx, l, subject, kept+taken)}
		case errors.Is(err, windowsRefused):
			kept++
		default:
			taken++
		}
	}
	return []Finding{{
		probeLink, subject, VerdictFault, fmt.Sprintf("plugins get no port: of those that were tried Windows keeps %d, and %d are in use", kept, taken),
		"free some of them: netsh interface ipv4 show excludedportrange protocol=tcp has the ranges that are kept (Hyper-V and its kin keep many), netstat -abno the programs",
	}}
}

// reached connects to the listener as the host does to a plugin, and closes it.
func reached(ctx context.Context, l net.Listener, subject string, before int) Finding {
	defer l.Close()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return faulty(probeLink, subject, fmt.Errorf("a program cannot reach another one on this computer: %w", err),
			"let hostd and its plugins connect to 127.0.0.1 in the firewall or the security program")
	}
	c.Close()
	if before > fewPorts {
		return Finding{
			probeLink, subject, VerdictWarning, fmt.Sprintf("the first %d ports are kept or in use: a plugin tries each of them at its start", before),
			"free some of them: netsh interface ipv4 show excludedportrange protocol=tcp has the ranges that are kept",
		}
	}
	return ok(probeLink, subject, "a plugin gets a port there, and can be reached")
}

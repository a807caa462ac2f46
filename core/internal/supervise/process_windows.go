package supervise

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
}

// group is a job inside the host's own, with the plugin's process and what it starts.
type group struct {
	mu  sync.Mutex
	job windows.Handle // guarded by mu: 0 before begin, after close, and where the system does not nest jobs
}

// begin lowers the priority of the process that has just started, where it yields, and puts it into a job whose memory is
// limited (0 is no limit). What it starts from now on has both, too. What a process asks for above its memory, it does not
// get; Go ends it then, and says so. What the process started before this is in the host's job alone.
func (g *group) begin(p *os.Process, memory int64, yields bool) error {
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE},
	}
	if memory > 0 {
		limits.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_JOB_MEMORY
		limits.JobMemoryLimit = uintptr(memory + unused)
	}
	job, err := newJob(&limits)
	if err != nil {
		return err
	}
	if err := assign(job, p.Pid, yields); err != nil {
		return errors.Join(err, windows.CloseHandle(job))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.job = job
	return nil
}

// unused is what Go's runtime commits at its start, in bytes, so that the limit is on what is used: 28 MiB were measured by
// VirtualQuery, of which its table of arenas is 8.
const unused = 32 << 20

func assign(job windows.Handle, pid int, yields bool) error {
	process, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE|windows.PROCESS_SET_INFORMATION, false, uint32(pid))
	if err != nil {
		return fmt.Errorf("open process: %w", err)
	}
	if yields { // its children have it from it (Microsoft, "Scheduling Priorities")
		err = windows.SetPriorityClass(process, windows.BELOW_NORMAL_PRIORITY_CLASS)
	}
	if err == nil {
		err = windows.AssignProcessToJobObject(job, process)
	}
	if err = errors.Join(err, windows.CloseHandle(process)); err != nil {
		return fmt.Errorf("put process into its job: %w", err)
	}
	return nil
}

// kill ends the process and what it started. An error means that nothing is left to end.
func (g *group) kill(p *os.Process) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.job != 0 {
		return windows.TerminateJobObject(g.job, 1)
	}
	return p.Kill()
}

// close ends what is left of the job.
func (g *group) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.job != 0 {
		_ = windows.CloseHandle(g.job) // it is ours, and open
		g.job = 0
	}
}

// endWithHost puts this process into a job that ends with its last handle, and every child is born into it. The handle is
// not inherited and never closed: the system closes it with this process, and closing it earlier would end this process.
func endWithHost() error {
	job, err := newJob(&windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE},
	})
	if err != nil {
		return err
	}
	if err := windows.AssignProcessToJobObject(job, windows.CurrentProcess()); err != nil {
		return fmt.Errorf("join job: %w", errors.Join(err, windows.CloseHandle(job)))
	}
	return nil
}

func newJob(limits *windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION) (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, fmt.Errorf("make job: %w", err)
	}
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(limits)), uint32(unsafe.Sizeof(*limits)))
	if err != nil {
		return 0, fmt.Errorf("limit job: %w", errors.Join(err, windows.CloseHandle(job)))
	}
	return job, nil
}

package supervise

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

// killed is how a process ends that was.
const killed = "exit status 1"

// gone is true for a process that has ended.
func gone(pid int) bool {
	process, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return true
	}
	defer windows.CloseHandle(process)
	event, err := windows.WaitForSingleObject(process, 0)
	return err == nil && event == windows.WAIT_OBJECT_0
}

// limitsOf is what the system says of a job's limits. Wine 8 takes them, keeps none but the end with the last handle, and
// tells none: such a test is skipped there, and nowhere else.
func limitsOf(t *testing.T, job windows.Handle) (limits windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION) {
	t.Helper()
	err := windows.QueryInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil && limits.BasicLimitInformation.LimitFlags == 0 {
		t.Skip("wine does not keep the limits of a job: QueryInformationJobObject tells none, and a process gets more than its memory")
	}
	return limits
}

// limited skips where the system does not limit the memory of a job.
func limited(t *testing.T) {
	t.Helper()
	job, err := newJob(&windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: windows.JOB_OBJECT_LIMIT_JOB_MEMORY}, JobMemoryLimit: 1 << 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(job)
	limitsOf(t, job)
}

// A plugin is in a job of its own, and yields the processor where it is to.
func TestJob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		yields bool
		class  uint32
	}{{false, windows.NORMAL_PRIORITY_CLASS}, {true, windows.BELOW_NORMAL_PRIORITY_CLASS}} {
		r := newRig(t, "plugin", `{}`)
		r.program.Yields, r.program.Memory = c.yields, 256<<20
		w := r.run(t)
		w.reached(t, Up)
		proc := w.newest()
		process, err := windows.OpenProcess(windows.PROCESS_QUERY_INFORMATION, false, uint32(proc.PID()))
		if err != nil {
			t.Fatal(err)
		}
		var in int32
		done, _, err := windows.NewLazySystemDLL("kernel32.dll").NewProc("IsProcessInJob").Call(uintptr(process), uintptr(proc.group.job), uintptr(unsafe.Pointer(&in)))
		if done == 0 || in == 0 {
			t.Errorf("in its job: %d, %v", in, err)
		}
		if class, err := windows.GetPriorityClass(process); err != nil || class != c.class {
			t.Errorf("yields %t: priority class %#x, %v, want %#x", c.yields, class, err, c.class)
		}
		if err := windows.CloseHandle(process); err != nil {
			t.Error(err)
		}
		t.Run("limits", func(t *testing.T) {
			limits := limitsOf(t, proc.group.job)
			const want = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | windows.JOB_OBJECT_LIMIT_JOB_MEMORY
			if limits.BasicLimitInformation.LimitFlags != want || limits.JobMemoryLimit != uintptr(r.program.Memory+unused) {
				t.Errorf("flags %#x, memory %d", limits.BasicLimitInformation.LimitFlags, limits.JobMemoryLimit)
			}
		})
	}
}

package admin

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/hostd/hostd/core/internal/life"
)

// metric is one name with its labels and kind.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("hostd_"+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("hostd_"+name, help, labels, nil), prometheus.CounterValue}
}

// The metrics of the outside interface.
var (
	mInfo      = gauge("info", "Always 1; the labels say which hostd this is.", "version", "clinic")
	mReady     = gauge("ready", "1 once the spool is open and every device was tried.")
	mStarted   = gauge("start_timestamp_seconds", "When this host started.")
	mHeldBack  = counter("device_held_seconds_total", "Seconds for which the device was held to its rate (workers.device_rate_mb) since the host started.", "device")
	mReceived  = counter("records_received_total", "Records that came from the device since the host started, stored or refused.", "device")
	mSpooled   = counter("records_spooled_total", "Records of the device on the host's disk, ever.", "device")
	mDelivered = counter("records_delivered_total", "Records that the sink has stored, ever.", "sink")
	mDead      = gauge("dead_letters", "Records that the sink will never store.", "sink")
	mHeld      = gauge("held_exams", "Exams without a patient that are kept from the sink until they are assigned.", "sink")
	mBacklog   = gauge("spool_backlog", "Records that wait for the sink.", "sink")
	mLast      = gauge("device_last_record_timestamp_seconds", "When the device's newest record was put on disk.", "device")
	mDevState  = gauge("device_state", "1 for the device's state.", "device", "state")
	mSinkState = gauge("sink_state", "1 for the sink's state.", "sink", "state")
	mRestarts  = counter("plugin_restarts_total", "Restarts of the plugin's process since the host started.", "plugin", "name")
	mUnrouted  = counter("records_unrouted_total", "Records that no route matched, ever.")
	mLoaded    = gauge("config_loaded_timestamp_seconds", "When the configuration in effect was loaded.")
	mReloads   = counter("config_reloads_total", "Reloads since the host started: ok are those that changed something.", "result")
	mAlarm     = gauge("alarm_active", "1 while the alarm stands.", "code", "subject")

	mSpoolRecords = counter("spool_records_total", "Records stored, ever.")
	mSpoolBytes   = gauge("spool_bytes", "Size of the spool's files.")
	mSpoolOldest  = gauge("spool_oldest_timestamp_seconds", "When the oldest file of the spool was begun.")
	mSpoolBad     = gauge("spool_quarantined", "Damaged ranges that were set aside.")

	mPoolOpen    = gauge("pool_open", "Connections that are open.")
	mPoolInUse   = gauge("pool_in_use", "Connections that somebody holds.")
	mPoolIdle    = gauge("pool_idle", "Connections that nobody holds.")
	mPoolMax     = gauge("pool_max_open", "Most connections that may be open.")
	mPoolWaits   = counter("pool_wait_count_total", "Operations that had to wait for a connection.")
	mPoolWaited  = counter("pool_wait_duration_seconds_total", "Time that operations have waited for a connection.")
	mPoolWaiting = gauge("pool_waiting", "Operations that wait for a connection now.")
	mPoolLost    = counter("pool_abandoned_total", "Connections given up because the database did not answer.")
	mPoolDown    = gauge("pool_down", "1 while the server is away and operations are refused at once.")
	mHolderInUse = gauge("pool_holder_in_use", "Connections that the holder has.", "holder")
	mHolderOld   = gauge("pool_holder_oldest_seconds", "Age of the holder's oldest running operation.", "holder")

	mCacheEntries = gauge("cache_entries", "Entries in the cache.")
	mCacheHits    = counter("cache_hits_total", "Reads that the cache answered.")
	mCacheMisses  = counter("cache_misses_total", "Reads that it did not.")
	mCacheLoads   = counter("cache_loads_total", "Values that were fetched to fill it.")

	mWorkers       = gauge("workers_size", "Workers there are.")
	mWorkersBusy   = gauge("workers_busy", "Workers with a job.")
	mWorkersQueued = gauge("workers_queued", "Jobs that wait for a worker.")
)

// registry has the host's metrics and those of the process. Nothing registers by import.
func registry(src Source) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{src}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// collector makes every metric of one Status at each scrape.
type collector struct{ src Source }

// Describe sends nothing: names of devices come and go with the configuration.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect asks the source once. The registry calls it in a goroutine of its own, where a panic would end the host.
func (c collector) Collect(out chan<- prometheus.Metric) {
	if err := life.Call(func() error { c.collect(out); return nil }); err != nil {
		out <- prometheus.NewInvalidMetric(mInfo.desc, err)
	}
}

func (c collector) collect(out chan<- prometheus.Metric) {
	s := status(c.src)
	o := output(out)
	o.put(mInfo, 1, s.Version, s.Clinic)
	o.put(mReady, truth(s.Ready))
	o.put(mStarted, seconds(s.StartedAt))
	o.put(mLoaded, seconds(s.Config.LoadedAt))
	o.put(mReloads, float64(s.Config.Reloads), "ok")
	o.put(mReloads, float64(s.Config.Refusals), "refused")
	o.devices(s.Devices)
	o.sinks(s.Sinks)
	o.spool(s.Spool)
	o.pool(s.Pool)
	o.put(mCacheEntries, float64(s.Cache.Entries))
	o.put(mCacheHits, float64(s.Cache.Hits))
	o.put(mCacheMisses, float64(s.Cache.Misses))
	o.put(mCacheLoads, float64(s.Cache.Loads))
	o.put(mWorkers, float64(s.Workers.Size))
	o.put(mWorkersBusy, float64(s.Workers.Busy))
	o.put(mWorkersQueued, float64(s.Workers.Queued))
	for _, a := range s.Alarms {
		o.put(mAlarm, 1, a.Code, a.Subject)
	}
}

// output is one scrape.
type output chan<- prometheus.Metric

func (o output) put(m metric, value float64, labels ...string) {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "?")
	}
	o <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
}

func (o output) devices(list []Device) {
	for _, d := range list {
		o.put(mReceived, float64(d.Received), d.Name)
		o.put(mHeldBack, float64(d.HeldMillis)/1000, d.Name)
		o.put(mSpooled, float64(d.Records), d.Name)
		o.put(mDevState, 1, d.Name, string(d.State))
		o.put(mRestarts, float64(d.Restarts), d.Plugin, d.Name)
		if d.LastRecordAt != nil {
			o.put(mLast, seconds(*d.LastRecordAt), d.Name)
		}
	}
}

func (o output) sinks(list []Sink) {
	for _, s := range list {
		o.put(mDelivered, float64(s.Delivered), s.Name)
		o.put(mDead, float64(s.Dead), s.Name)
		o.put(mHeld, float64(s.Held), s.Name)
		o.put(mBacklog, float64(s.Backlog), s.Name)
		o.put(mSinkState, 1, s.Name, string(s.State))
		o.put(mRestarts, float64(s.Restarts), s.Plugin, s.Name)
	}
}

func (o output) spool(s Spool) {
	o.put(mSpoolRecords, float64(s.Records))
	o.put(mSpoolBytes, float64(s.Bytes))
	o.put(mSpoolBad, float64(s.Quarantined))
	o.put(mUnrouted, float64(s.Unrouted))
	if s.OldestAt != nil {
		o.put(mSpoolOldest, seconds(*s.OldestAt))
	}
}

func (o output) pool(p Pool) {
	o.put(mPoolOpen, float64(p.Open))
	o.put(mPoolInUse, float64(p.InUse))
	o.put(mPoolIdle, float64(p.Idle))
	o.put(mPoolMax, float64(p.MaxOpen))
	o.put(mPoolWaits, float64(p.WaitCount))
	o.put(mPoolWaited, p.WaitDuration)
	o.put(mPoolWaiting, float64(p.Waiting))
	o.put(mPoolLost, float64(p.Abandoned))
	o.put(mPoolDown, truth(p.Down))
	for _, h := range p.Holders {
		o.put(mHolderInUse, float64(h.InUse), h.Name)
		o.put(mHolderOld, h.Oldest, h.Name)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

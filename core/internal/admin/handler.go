package admin

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/logs"
)

// Paths of the outside interface.
const (
	PathHealth  = "/healthz"       // 200 while the process answers
	PathReady   = "/readyz"        // 200, or 503 with what is missing
	PathMetrics = "/metrics"       // Prometheus text
	PathStatus  = "/api/v1/status" // Status as JSON
	PathStop    = "/api/v1/stop"   // POST with the token: 202, and the host drains and ends
	PathDo      = "/api/v1/do/"    // POST with the token and an operation's name behind it: 200 and its answer
)

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathHealth, func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET "+PathReady, s.ready)
	mux.HandleFunc("GET "+PathStatus, s.status)
	mux.HandleFunc("GET /{$}", s.page)
	mux.Handle("GET "+PathMetrics, promhttp.HandlerFor(registry(s.opt.Source), promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelWarn),
		ErrorHandling: promhttp.ContinueOnError, // one bad value must not hide the others
	}))
	if s.opt.Stop != nil {
		mux.HandleFunc("POST "+PathStop, s.stop)
	}
	if s.opt.Operate != nil {
		mux.HandleFunc("POST "+PathDo+"{name}", s.operate)
	}
	return s.guard(mux)
}

// guard is in front of every call. A name other than loopback in Host is a web page that had its own name resolved to
// this machine; a changing call needs the token, and no page of another origin may make it.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Frame-Options", "DENY")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cache-Control", "no-store")
		if !loopback(hostOf(r.Host)) {
			text(w, http.StatusForbidden, "this page answers to 127.0.0.1 and localhost only\n")
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !s.mayChange(r) {
			text(w, http.StatusForbidden, "a changing call needs the token, and must not come from another page\n")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		err := life.Call(func() error { next.ServeHTTP(w, r); return nil })
		if err != nil && !errors.Is(err, http.ErrAbortHandler) {
			s.opt.Log.Error("admin call failed", "path", r.URL.Path, "err", err)
			text(w, http.StatusInternalServerError, "internal error, see the log\n")
		}
	})
}

// hostOf is the name of a Host header, which may have a port.
func hostOf(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return hostport
	}
	return host
}

func (s *Server) mayChange(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host != r.Host {
			return false
		}
	}
	given := []byte(r.Header.Get("Authorization"))
	return s.token != "" && subtle.ConstantTimeCompare(given, []byte("Bearer "+s.token)) == 1
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if err := s.opt.Source.Ready(); err != nil {
		text(w, http.StatusServiceUnavailable, err.Error()+"\n")
		return
	}
	text(w, http.StatusOK, "ready\n")
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	body, err := json.MarshalIndent(status(s.opt.Source), "", "  ")
	if err != nil {
		s.opt.Log.Error("status cannot be encoded", "err", err)
		text(w, http.StatusInternalServerError, "status cannot be encoded, see the log\n")
		return
	}
	write(w, http.StatusOK, "application/json", append(body, '\n'))
}

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	if err := render(&b, status(s.opt.Source)); err != nil {
		s.opt.Log.Error("page cannot be made", "err", err)
		text(w, http.StatusInternalServerError, "page cannot be made, see the log\n")
		return
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	write(w, http.StatusOK, "text/html; charset=utf-8", b.Bytes())
}

func (s *Server) stop(w http.ResponseWriter, _ *http.Request) {
	s.opt.Log.Info("stop asked for by an admin call")
	text(w, http.StatusAccepted, "stopping\n")
	s.opt.Stop()
}

// operate has no deadline of its own: a replay reads the whole log.
func (s *Server) operate(w http.ResponseWriter, r *http.Request) {
	args, err := io.ReadAll(r.Body)
	if err != nil {
		text(w, http.StatusBadRequest, "arguments cannot be read\n")
		return
	}
	control := http.NewResponseController(w)
	if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
		s.opt.Log.Debug("deadline of a call not lifted", "err", err)
	}
	answer, err := s.opt.Operate(r.Context(), r.PathValue("name"), args)
	switch {
	case errors.Is(err, ErrOperation):
		text(w, http.StatusNotFound, err.Error()+"\n")
	case errors.Is(err, ErrArguments):
		text(w, http.StatusBadRequest, err.Error()+"\n")
	case err != nil:
		text(w, http.StatusConflict, err.Error()+"\n")
	default:
		body, err := json.Marshal(answer)
		if err != nil {
			s.opt.Log.Error("answer cannot be encoded", "err", err)
			text(w, http.StatusInternalServerError, "answer cannot be encoded, see the log\n")
			return
		}
		write(w, http.StatusOK, "application/json", append(body, '\n'))
	}
}

func text(w http.ResponseWriter, code int, body string) {
	write(w, code, "text/plain; charset=utf-8", []byte(logs.Mask(body)))
}

func write(w http.ResponseWriter, code int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(code)
	_, _ = w.Write(body) // the peer has gone; there is nobody to tell
}

// Package datastorage is the service that keeps the audit trail: an HTTP API on
// PostgreSQL, with a queue in Redis for the time that PostgreSQL is gone.
package datastorage

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/problem"
)

// Store is where events live.
type Store interface {
	Ping(ctx context.Context) error
	Insert(ctx context.Context, events ...audit.Event) error
	Query(ctx context.Context, f Filter) (events []audit.Event, total int, err error)
}

// Fallback takes an event while the store is gone.
type Fallback interface {
	Add(ctx context.Context, e audit.Event) error
}

// Server is the HTTP API.
type Server struct {
	store    Store
	fallback Fallback
	metrics  *Metrics
	stopping atomic.Bool
}

func NewServer(store Store, fallback Fallback, metrics *Metrics) *Server {
	return &Server{store: store, fallback: fallback, metrics: metrics}
}

// StopAccepting turns readiness off; requests are still answered.
func (s *Server) StopAccepting() { s.stopping.Store(true) }

// Handler has every error answered as a problem, also those of the router.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	routes := map[string]map[string]http.HandlerFunc{
		"/health":                    {http.MethodGet: s.health},
		"/health/ready":              {http.MethodGet: s.ready},
		"/health/live":               {http.MethodGet: s.live},
		"/api/v1/audit/events":       {http.MethodGet: s.list, http.MethodPost: s.create},
		"/api/v1/audit/events/batch": {http.MethodPost: s.createBatch},
	}
	for path, methods := range routes {
		var allowed []string
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if handler, ok := methods[method]; ok {
				mux.HandleFunc(method+" "+path, handler)
				allowed = append(allowed, method)
			}
		}
		mux.HandleFunc(path, methodNotAllowed(strings.Join(allowed, ", ")))
	}
	mux.HandleFunc("/", notFound)
	return mux
}

func methodNotAllowed(allowed string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allowed)
		problem.New(http.StatusMethodNotAllowed, "method-not-allowed", "Method not allowed",
			fmt.Sprintf("%s is not one of: %s", r.Method, allowed)).Write(w, r)
	}
}

func notFound(w http.ResponseWriter, r *http.Request) {
	problem.New(http.StatusNotFound, "not-found", "Not found", "there is nothing at "+r.URL.Path).Write(w, r)
}

type health struct {
	Status   string `json:"status"`
	Database string `json:"database"`
}

type readiness struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// health says whether PostgreSQL answers, with or without a schema.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if err := s.store.Ping(r.Context()); err != nil {
		slog.Warn("health: PostgreSQL does not answer", "error", err)
		answer(w, http.StatusServiceUnavailable, health{"unhealthy", "disconnected"})
		return
	}
	answer(w, http.StatusOK, health{"healthy", "connected"})
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.stopping.Load():
		answer(w, http.StatusServiceUnavailable, readiness{"not ready", "shutting down"})
	case s.store.Ping(r.Context()) != nil:
		answer(w, http.StatusServiceUnavailable, readiness{"not ready", "database disconnected"})
	default:
		answer(w, http.StatusOK, readiness{Status: "ready"})
	}
}

// live does not look at PostgreSQL: a restart would not bring it back.
func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, readiness{Status: "alive"})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The status is out: a client that is gone cannot be told.
	_ = json.NewEncoder(w).Encode(body)
}

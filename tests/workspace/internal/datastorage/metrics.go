package datastorage

import (
	"fmt"
	"net/http"
	"sync/atomic"
)

// Metrics counts events since the start.
type Metrics struct {
	Written  atomic.Int64 // stored by a request
	Queued   atomic.Int64 // put into Redis because PostgreSQL was gone
	Drained  atomic.Int64 // moved from Redis to PostgreSQL
	Rejected atomic.Int64 // refused: not valid, or not stored by PostgreSQL for what they are
}

// Handler serves /metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		counter := func(name, help string, value *atomic.Int64) {
			name = "datastorage_events_" + name + "_total"
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s counter\n%s %d\n", name, help, name, name, value.Load())
		}
		counter("written", "Events stored by a request.", &m.Written)
		counter("queued", "Events queued in Redis because PostgreSQL was gone.", &m.Queued)
		counter("drained", "Events moved from Redis to PostgreSQL.", &m.Drained)
		counter("rejected", "Events refused as not valid.", &m.Rejected)
	})
	return mux
}

package datastorage

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/kubernaut/workspace/pkg/problem"
)

func TestBatchNamesEventAndMember(t *testing.T) {
	body := `[` + event + `, {"version": 1}, 7]`
	server, metrics := withMetrics(&fakeStore{})
	w := request(server, http.MethodPost, "/api/v1/audit/events/batch", body)
	var p problem.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if got := p.Errors[len(p.Errors)-1]; got != (problem.FieldError{Field: "[2].event", Message: "must be an object"}) {
		t.Errorf("last error %v", got)
	}
	for _, err := range p.Errors {
		if strings.HasPrefix(err.Field, "[0]") {
			t.Errorf("a valid event is refused: %v", err)
		}
	}
	if metrics.Rejected.Load() != 3 {
		t.Errorf("%d events counted as rejected", metrics.Rejected.Load())
	}
}

func TestWrongTypeIsNotMissingToo(t *testing.T) {
	_, errs := parseEvent([]byte(strings.Replace(event, `"1.0"`, "1", 1)))
	if len(errs) != 1 || errs[0] != (problem.FieldError{Field: "version", Message: "must be a string"}) {
		t.Errorf("%v", errs)
	}
}

func TestEventGetsAnIDThatSortsByTime(t *testing.T) {
	first, _ := parseEvent([]byte(event))
	second, _ := parseEvent([]byte(event))
	if id, err := uuid.Parse(first.ID); err != nil || id.Version() != 7 || first.ID >= second.ID {
		t.Errorf("%s, %s", first.ID, second.ID)
	}
}

func TestBodyIsReadUpToItsLimit(t *testing.T) {
	for size, want := range map[int]int{maxEventBytes: http.StatusCreated, maxEventBytes + 1: http.StatusRequestEntityTooLarge} {
		server, _ := withMetrics(&fakeStore{})
		body := event + strings.Repeat(" ", size-len(event))
		if w := request(server, http.MethodPost, "/api/v1/audit/events", body); w.Code != want {
			t.Errorf("%d bytes: %d, want %d", size, w.Code, want)
		}
	}
}

func TestMetricsCountByWhatBecameOfEvents(t *testing.T) {
	store := &fakeStore{}
	server, metrics := withMetrics(store)
	request(server, http.MethodPost, "/api/v1/audit/events/batch", "["+event+","+event+"]")
	store.err = errGone
	request(server, http.MethodPost, "/api/v1/audit/events", event)
	store.err = errNoPartition
	request(server, http.MethodPost, "/api/v1/audit/events", event)

	w := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{"events_written_total 2", "events_queued_total 1", "events_drained_total 0", "events_rejected_total 1"} {
		if !strings.Contains(w.Body.String(), "\ndatastorage_"+line+"\n") {
			t.Errorf("%q is not in\n%s", line, w.Body)
		}
	}
}

func withMetrics(store Store) (*Server, *Metrics) {
	metrics := &Metrics{}
	return NewServer(store, &fakeQueue{}, metrics), metrics
}

package audit

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// answering is a DataStorage that gives these statuses, one a request, and the
// last for ever. Every batch that it was sent goes to batches.
func answering(t *testing.T, statuses ...int) (url string, batches chan []Event) {
	t.Helper()
	batches = make(chan []Event, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var batch []Event
		if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
			t.Error(err)
		}
		batches <- batch
		w.WriteHeader(statuses[min(len(batches), len(statuses))-1])
	}))
	t.Cleanup(server.Close)
	return server.URL, batches
}

func TestRetriedBatchKeepsItsIDs(t *testing.T) {
	url, batches := answering(t, http.StatusInternalServerError, http.StatusCreated)
	client, err := NewClient(Config{URL: url, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Record(valid()); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got, want := client.Stats(), (Stats{Written: 1, Retries: 1, Batches: 1}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if first, second := <-batches, <-batches; first[0].ID == "" || first[0].ID != second[0].ID {
		t.Errorf("ids %q and %q", first[0].ID, second[0].ID)
	}
}

func TestRefusalIsNotRepeated(t *testing.T) {
	url, batches := answering(t, http.StatusBadRequest)
	client, err := NewClient(Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Record(valid()); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(context.Background()); err == nil {
		t.Error("Close did not tell of the failed event")
	}
	if len(batches) != 1 || client.Stats() != (Stats{Failed: 1}) {
		t.Errorf("%d requests, %v", len(batches), client.Stats())
	}
}

func TestBackoffDoublesUpToItsLimit(t *testing.T) {
	client := Client{cfg: Config{Backoff: 100 * time.Millisecond, MaxBackoff: time.Second}}
	for attempt, most := range map[int]time.Duration{1: 100, 2: 200, 4: 800, 5: 1000, 500: 1000} {
		most *= time.Millisecond
		if wait := client.backoff(attempt); wait > most || wait < most/2 {
			t.Errorf("attempt %d: %v is not from %v to %v", attempt, wait, most/2, most)
		}
	}
}

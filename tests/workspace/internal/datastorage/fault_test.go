package datastorage

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/kubernaut/workspace/internal/config"
	"github.com/kubernaut/workspace/pkg/audit"
)

func TestNoFaultChangesNothing(t *testing.T) {
	fault, err := FaultNamed("")
	if err != nil {
		t.Fatal(err)
	}
	store, queue := &fakeStore{}, &fakeQueue{}
	if fault.Store(store) != Store(store) || fault.Fallback(queue) != Fallback(queue) || fault.Backlog(queue) != Backlog(queue) {
		t.Error("a store or a queue is another one")
	}
	if cfg := (config.Database{MaxOpenConns: 25}); fault.Database(cfg) != cfg {
		t.Error("the configuration is another one")
	}
}

func TestUnknownFaultIsNamed(t *testing.T) {
	_, err := FaultNamed("wrong-fitler")
	if err == nil || !strings.Contains(err.Error(), `"wrong-fitler"`) || !strings.Contains(err.Error(), "wrong-filter") {
		t.Errorf("%v", err)
	}
}

// Each of them must break what it says, or no suite would notice.
func TestForgetQueueAnswersAndForgets(t *testing.T) {
	queue := &fakeQueue{}
	server := NewServer(&fakeStore{err: errGone}, forgetQueue{queue}, &Metrics{})
	if w := request(server, http.MethodPost, "/api/v1/audit/events", event); w.Code != http.StatusAccepted || len(queue.queued) > 0 {
		t.Errorf("%d, queued %v", w.Code, queue.queued)
	}
}

func TestNewestFirstTurnsThePageAround(t *testing.T) {
	queued, err := newestFirst{&fakeQueue{queued: []Queued{{Entry: "1"}, {Entry: "2"}}}}.Peek(context.Background(), 2)
	if err != nil || queued[0].Entry != "2" || queued[1].Entry != "1" {
		t.Errorf("%v, %v", queued, err)
	}
}

func TestForgetIDsKnowsOnlyWhatWasStored(t *testing.T) {
	store := &fakeStore{err: errGone}
	forgetful := forgetIDs{store, &sync.Map{}}
	e := audit.Event{ID: "1"}
	if err := forgetful.Insert(context.Background(), e); !errors.Is(err, errGone) {
		t.Fatal(err)
	}
	store.err = nil
	for range 2 {
		if err := forgetful.Insert(context.Background(), e); err != nil {
			t.Fatal(err)
		}
	}
	if store.stored[0].ID != "1" || store.stored[1].ID == "1" {
		t.Errorf("%v", store.stored)
	}
}

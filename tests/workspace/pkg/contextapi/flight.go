package contextapi

import (
	"context"
	"sync"
)

// flights lets readers that miss the same entry at once share one load.
type flights struct {
	mu      sync.Mutex
	running map[string]*flight
}

type flight struct {
	done chan struct{}
	body []byte
	tier Tier
	err  error
}

type loader func(ctx context.Context) ([]byte, Tier, error)

// do returns what load returns, or what a load of the same key returns that is
// on its way; joined is called before waiting for that. A load does not end with
// the reader that began it: others may wait for it.
func (f *flights) do(ctx context.Context, key string, joined func(), load loader) ([]byte, Tier, error) {
	f.mu.Lock()
	shared, ok := f.running[key]
	if !ok {
		shared = &flight{done: make(chan struct{})}
		if f.running == nil {
			f.running = map[string]*flight{}
		}
		f.running[key] = shared
		go f.run(context.WithoutCancel(ctx), key, shared, load)
	}
	f.mu.Unlock()
	if ok {
		joined()
	}
	select {
	case <-shared.done:
		return shared.body, shared.tier, shared.err
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
}

func (f *flights) run(ctx context.Context, key string, shared *flight, load loader) {
	shared.body, shared.tier, shared.err = load(ctx)
	f.mu.Lock()
	delete(f.running, key)
	f.mu.Unlock()
	close(shared.done)
}

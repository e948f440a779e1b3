package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/kubernaut/workspace/pkg/problem"
)

const batchPath = "/api/v1/audit/events/batch"

var (
	// ErrBufferFull is returned by Record for an event that was dropped.
	ErrBufferFull = errors.New("audit: buffer is full, event dropped")
	// ErrClosed is returned by Record after Close.
	ErrClosed = errors.New("audit: client is closed")
)

// Config is the policy of a Client; zero values mean the defaults in brackets.
type Config struct {
	URL            string        // of DataStorage, without a path
	BufferSize     int           // events waiting to be batched [1000]
	BatchSize      int           // events in one request [100]
	FlushInterval  time.Duration // longest wait of an event in a batch that is not full [1s]
	MaxAttempts    int           // requests for one batch, the first included [4]
	Backoff        time.Duration // before the second attempt, doubled for each further one [100ms]
	MaxBackoff     time.Duration // [2s]
	RequestTimeout time.Duration // [5s]
}

func (c Config) withDefaults() Config {
	setDefault(&c.BufferSize, 1000)
	setDefault(&c.BatchSize, 100)
	setDefault(&c.FlushInterval, time.Second)
	setDefault(&c.MaxAttempts, 4)
	setDefault(&c.Backoff, 100*time.Millisecond)
	setDefault(&c.MaxBackoff, 2*time.Second)
	setDefault(&c.RequestTimeout, 5*time.Second)
	return c
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Stats says what has become of the events that Record was given: each is
// written, failed, dropped or still pending.
type Stats struct {
	Written int64 // DataStorage has them
	Failed  int64 // refused, or given up after MaxAttempts
	Dropped int64 // the buffer was full
	Retries int64 // requests beyond the first of each batch
	Batches int64 // batches written
}

func (s Stats) String() string {
	return fmt.Sprintf("%d written, %d failed, %d dropped, %d batches, %d retries",
		s.Written, s.Failed, s.Dropped, s.Batches, s.Retries)
}

// Client buffers events and writes them in batches, so that a service is never
// slowed down by its audit trail. Close it before DataStorage stops.
type Client struct {
	cfg      Config
	endpoint string
	http     *http.Client

	mu     sync.RWMutex // guards closed, and with it sends on events
	closed bool
	events chan Event

	ctx    context.Context // of all requests; Close ends it when its caller is out of patience
	abort  context.CancelFunc
	done   chan struct{}
	counts struct{ written, failed, dropped, retries, batches atomic.Int64 }

	lastErr atomic.Pointer[error]
}

// NewClient starts a client. The caller has to Close it.
func NewClient(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("audit: %q is not the URL of a DataStorage", cfg.URL)
	}
	cfg = cfg.withDefaults()
	c := &Client{
		cfg:      cfg,
		endpoint: base.JoinPath(batchPath).String(),
		http:     &http.Client{Timeout: cfg.RequestTimeout},
		events:   make(chan Event, cfg.BufferSize),
		done:     make(chan struct{}),
	}
	c.ctx, c.abort = context.WithCancel(context.Background())
	go c.run()
	return c, nil
}

// Record hands over an event and returns at once. It fills in what the event
// lacks: id, version, timestamp. The id is what makes a retried batch harmless.
func (c *Client) Record(e Event) error {
	if e.ID == "" {
		e.ID = uuid.Must(uuid.NewV7()).String()
	}
	if e.Version == "" {
		e.Version = Version
	}
	if e.Timestamp.IsZero() {
		e.Timestamp = time.Now().UTC()
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return ErrClosed
	}
	select {
	case c.events <- e:
		return nil
	default:
		c.counts.dropped.Add(1)
		return ErrBufferFull
	}
}

// Close writes what is buffered and ends the client. When ctx ends first, the
// rest counts as failed and the error says how many that were.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.events)
	}
	c.mu.Unlock()

	select {
	case <-c.done:
	case <-ctx.Done():
		c.abort()
		<-c.done
	}
	c.abort()
	if s := c.Stats(); s.Failed > 0 {
		return fmt.Errorf("audit: %d of %d events failed: %w", s.Failed, s.Failed+s.Written, *c.lastErr.Load())
	}
	return nil
}

// Stats may be called at any time, also after Close.
func (c *Client) Stats() Stats {
	return Stats{
		Written: c.counts.written.Load(),
		Failed:  c.counts.failed.Load(),
		Dropped: c.counts.dropped.Load(),
		Retries: c.counts.retries.Load(),
		Batches: c.counts.batches.Load(),
	}
}

func (c *Client) run() {
	defer close(c.done)
	ticker := time.NewTicker(c.cfg.FlushInterval)
	defer ticker.Stop()
	batch := make([]Event, 0, c.cfg.BatchSize)
	flush := func() {
		if len(batch) > 0 {
			c.write(batch)
			batch = batch[:0]
		}
	}
	for {
		select {
		case e, open := <-c.events:
			if !open {
				flush()
				return
			}
			batch = append(batch, e)
			if len(batch) == c.cfg.BatchSize {
				flush()
			}
		case <-ticker.C:
			flush()
		}
	}
}

func (c *Client) write(batch []Event) {
	err := c.writeWithRetries(batch)
	if err != nil {
		c.lastErr.Store(&err)
		c.counts.failed.Add(int64(len(batch)))
		return
	}
	c.counts.written.Add(int64(len(batch)))
	c.counts.batches.Add(1)
}

func (c *Client) writeWithRetries(batch []Event) error {
	body, err := json.Marshal(batch)
	if err != nil {
		return fmt.Errorf("encode batch: %w", err)
	}
	for attempt := 1; ; attempt++ {
		err := c.post(body)
		if err == nil || attempt == c.cfg.MaxAttempts || !temporary(err) {
			return err
		}
		select {
		case <-time.After(c.backoff(attempt)):
			c.counts.retries.Add(1)
		case <-c.ctx.Done():
			return err
		}
	}
}

// backoff doubles from attempt to attempt; jitter takes away up to half of it.
func (c *Client) backoff(attempt int) time.Duration {
	wait := min(c.cfg.Backoff<<min(attempt-1, 16), c.cfg.MaxBackoff)
	return wait - rand.N(wait/2+1)
}

func (c *Client) post(body []byte) error {
	req, err := http.NewRequestWithContext(c.ctx, http.MethodPost, c.endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode == http.StatusCreated {
		return nil
	}
	refusal := &problem.Problem{}
	if err != nil || json.Unmarshal(answer, refusal) != nil {
		refusal.Title = http.StatusText(resp.StatusCode)
		refusal.Detail = string(answer)
	}
	refusal.Status = resp.StatusCode
	return refusal
}

// temporary tells a server in trouble, or one that cannot be reached, from a
// refusal that would be repeated.
func temporary(err error) bool {
	var refusal *problem.Problem
	if errors.As(err, &refusal) {
		return refusal.Status >= http.StatusInternalServerError || refusal.Status == http.StatusTooManyRequests
	}
	return !errors.Is(err, context.Canceled)
}

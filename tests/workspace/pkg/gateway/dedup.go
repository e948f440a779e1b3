package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/kubernaut/workspace/pkg/fault"
)

// Outcome of a signal.
type Outcome string

const (
	Created      Outcome = "created"
	Duplicate    Outcome = "duplicate"
	StormStarted Outcome = "storm-started" // a remediation for all that follow
	StormJoined  Outcome = "storm-joined"
	Resolved     Outcome = "resolved" // its window is over
	Ignored      Outcome = "ignored"
)

// Decision is what one signal has led to.
type Decision struct {
	Fingerprint string  `json:"fingerprint"`
	Outcome     Outcome `json:"outcome"`
	Remediation string  `json:"remediation,omitempty"`
	Count       int     `json:"count"` // of signals in the window, this one too
}

// Window is the time in which signals of one fingerprint are one incident.
type Window struct {
	Fingerprint string    `json:"fingerprint"`
	Remediation string    `json:"remediation"`
	Count       int       `json:"count"`
	First       time.Time `json:"first_seen_at"`
	Last        time.Time `json:"last_seen_at"`
}

// Fault breaks one behaviour on purpose, so that a suite can be seen to fail.
type Fault string

const (
	ForgetWindow          Fault = "forget-window"           // a window never ends
	SlidingWindow         Fault = "sliding-window"          // a duplicate makes it longer
	SeverityInFingerprint Fault = "severity-in-fingerprint" // an alert that gets worse is another incident
	NoStorm               Fault = "no-storm"                // every resource of a storm is an incident
)

// FaultNamed reads GATEWAY_FAULT.
func FaultNamed() (Fault, error) {
	name, err := fault.Named("GATEWAY_FAULT", string(ForgetWindow), string(SlidingWindow), string(SeverityInFingerprint), string(NoStorm))
	return Fault(name), err
}

// Deduplicator decides in Redis, so that all gateways decide as one.
type Deduplicator struct {
	Redis  redis.UniversalClient
	Prefix string // of all keys
	Window time.Duration

	// A storm is more than StormThreshold new incidents of one name in one
	// namespace within StormWindow; that is also how long it lasts.
	StormThreshold int // 0: there are no storms
	StormWindow    time.Duration

	Now   func() time.Time // default time.Now
	Fault Fault
}

// One script, since what several gateways read and write in turns is not exact.
// KEYS: window, rate, storm. ARGV: a new id, now, window and storm window in ms, threshold, fault.
var admit = redis.NewScript(`
local count = redis.call('HINCRBY', KEYS[1], 'count', 1)
redis.call('HSET', KEYS[1], 'last', ARGV[2])
if count > 1 then
	if ARGV[6] == 'sliding-window' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
	return {'duplicate', redis.call('HGET', KEYS[1], 'remediation'), count}
end
local outcome, id, threshold = 'created', ARGV[1], tonumber(ARGV[5])
if threshold > 0 and ARGV[6] ~= 'no-storm' then
	local rate = redis.call('INCR', KEYS[2])
	if rate == 1 then redis.call('PEXPIRE', KEYS[2], ARGV[4]) end
	if rate > threshold or redis.call('EXISTS', KEYS[3]) == 1 then
		local first = redis.call('HSETNX', KEYS[3], 'remediation', id)
		redis.call('HINCRBY', KEYS[3], 'resources', 1)
		if first == 1 then redis.call('PEXPIRE', KEYS[3], ARGV[4]) end
		outcome = first == 1 and 'storm-started' or 'storm-joined'
		id = redis.call('HGET', KEYS[3], 'remediation')
	end
end
redis.call('HSET', KEYS[1], 'remediation', id, 'first', ARGV[2])
if ARGV[6] ~= 'forget-window' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return {outcome, id, count}`)

// A window that has ended meanwhile may be another's by now.
var release = redis.NewScript(`
local released = 0
for _, key in ipairs(KEYS) do
	if redis.call('HGET', key, 'remediation') == ARGV[1] then released = released + redis.call('UNLINK', key) end
end
return released`)

// Admit counts a signal and decides what it leads to. A window begins with its
// first signal, and no later one makes it longer.
func (d *Deduplicator) Admit(ctx context.Context, s Signal) (Decision, error) {
	decision := Decision{Fingerprint: s.fingerprint(d.Fault)}
	keys := []string{d.WindowKey(decision.Fingerprint), d.key("rate", s.storm()), d.StormKey(s)}
	reply, err := admit.Run(ctx, d.Redis, keys, "rr-"+uuid.NewString(), d.now().UnixMilli(),
		d.Window.Milliseconds(), d.StormWindow.Milliseconds(), d.StormThreshold, string(d.Fault)).Slice()
	if err != nil {
		return decision, fmt.Errorf("admit %s: %w", decision.Fingerprint, err)
	}
	outcome, _ := reply[0].(string)
	decision.Remediation, _ = reply[1].(string)
	count, _ := reply[2].(int64)
	decision.Outcome, decision.Count = Outcome(outcome), int(count)
	return decision, nil
}

// Release lets a remediation that could not be created be asked for again. What
// has joined a storm meanwhile stays with it until its windows end.
func (d *Deduplicator) Release(ctx context.Context, s Signal, remediation string) error {
	return release.Run(ctx, d.Redis, []string{d.WindowKey(s.fingerprint(d.Fault)), d.StormKey(s)}, remediation).Err()
}

// Resolve ends the window of a signal; whether there was one.
func (d *Deduplicator) Resolve(ctx context.Context, s Signal) (bool, error) {
	ended, err := d.Redis.Unlink(ctx, d.WindowKey(s.fingerprint(d.Fault))).Result()
	return ended > 0, err
}

// ErrNoWindow is for a fingerprint that nothing was heard of lately.
var ErrNoWindow = errors.New("nothing was heard of this fingerprint in its window")

// Look reads a window and does not count.
func (d *Deduplicator) Look(ctx context.Context, fingerprint string) (Window, error) {
	fields, err := d.Redis.HGetAll(ctx, d.WindowKey(fingerprint)).Result()
	if err != nil {
		return Window{}, err
	}
	if len(fields) == 0 {
		return Window{}, ErrNoWindow
	}
	w := Window{Fingerprint: fingerprint, Remediation: fields["remediation"]}
	count, err := strconv.Atoi(fields["count"])
	first, errFirst := strconv.ParseInt(fields["first"], 10, 64)
	last, errLast := strconv.ParseInt(fields["last"], 10, 64)
	w.Count, w.First, w.Last = count, time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC()
	return w, errors.Join(err, errFirst, errLast)
}

func (d *Deduplicator) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

func (d *Deduplicator) key(kind, id string) string { return d.Prefix + ":gateway:" + kind + ":" + id }

// WindowKey is the hash that counts the signals of a fingerprint.
func (d *Deduplicator) WindowKey(fingerprint string) string { return d.key("window", fingerprint) }

// StormKey is the hash of the storm that a signal may be a part of.
func (d *Deduplicator) StormKey(s Signal) string { return d.key("storm", s.storm()) }

// Package notification delivers messages to channels, tries again what may work
// later, and leaves an audit trail.
package notification

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kubernaut/workspace/pkg/audit"
)

// Notification is one message to one channel.
type Notification struct {
	ID            string
	CorrelationID string
	Channel       string
	Subject       string
	Body          string
}

// Channel is where notifications go: e-mail, Slack, a console.
type Channel interface {
	Send(ctx context.Context, n Notification) error
}

// ErrPermanent marks a failure that trying again does not cure. Channels wrap it.
var ErrPermanent = errors.New("permanent failure")

// RetryPolicy bounds the attempts of one delivery.
type RetryPolicy struct {
	MaxAttempts int
	Base        time.Duration // wait after the first attempt, doubled after each further one
	Max         time.Duration
}

// Wait is the time between an attempt, counted from 1, and the next.
func (p RetryPolicy) Wait(attempt int) time.Duration {
	wait := p.Base
	for ; attempt > 1 && wait < p.Max; attempt-- {
		wait *= 2
	}
	return min(wait, p.Max)
}

// Recorder is what a dispatcher needs of an audit client.
type Recorder interface {
	Record(e audit.Event) error
}

// Dispatcher sends notifications.
type Dispatcher struct {
	Channels map[string]Channel
	Policy   RetryPolicy
	Dedup    *Deduplicator // nil: send everything
	Audit    Recorder
}

// Deliver sends n and returns how that ended. When ctx ends between two attempts
// the delivery is left Retrying.
func (d *Dispatcher) Deliver(ctx context.Context, n Notification) (*Delivery, error) {
	delivery := NewDelivery(n)
	if d.Dedup == nil {
		return delivery, d.attempt(ctx, delivery)
	}
	first, err := d.Dedup.Claim(ctx, n)
	if err != nil {
		return delivery, fmt.Errorf("de-duplicate %s: %w", n.ID, err)
	}
	if !first {
		return delivery, d.move(delivery, Suppressed, nil)
	}
	if err := d.attempt(ctx, delivery); err != nil {
		// What was not sent is no reason to suppress the next attempt.
		return delivery, errors.Join(err, d.Dedup.Release(context.WithoutCancel(ctx), n))
	}
	return delivery, nil
}

func (d *Dispatcher) attempt(ctx context.Context, delivery *Delivery) error {
	channel, ok := d.Channels[delivery.Notification.Channel]
	if !ok {
		cause := fmt.Errorf("%w: there is no channel %q", ErrPermanent, delivery.Notification.Channel)
		return errors.Join(cause, d.move(delivery, Failed, cause))
	}
	for {
		if err := d.move(delivery, Sending, nil); err != nil {
			return err
		}
		err := channel.Send(ctx, delivery.Notification)
		switch {
		case err == nil:
			return d.move(delivery, Sent, nil)
		case errors.Is(err, ErrPermanent) || delivery.Attempts >= d.Policy.MaxAttempts:
			return errors.Join(err, d.move(delivery, Failed, err))
		}
		if err := d.move(delivery, Retrying, err); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d.Policy.Wait(delivery.Attempts)):
		}
	}
}

var outcomes = map[State]string{Sending: "pending", Retrying: "failure", Sent: "success", Failed: "failure", Suppressed: "success"}

func (d *Dispatcher) move(delivery *Delivery, to State, cause error) error {
	if err := delivery.To(to); err != nil {
		return err
	}
	details := map[string]any{"notification_id": delivery.Notification.ID, "channel": delivery.Notification.Channel, "attempt": delivery.Attempts}
	if cause != nil {
		details["error"] = cause.Error()
	}
	data, err := json.Marshal(details)
	if err != nil {
		return err
	}
	// The audit client counts what it drops: a full buffer must not stop a delivery.
	_ = d.Audit.Record(audit.Event{
		Type:          "notification.message." + string(to),
		Category:      "notification",
		Action:        string(to),
		Outcome:       outcomes[to],
		CorrelationID: delivery.Notification.CorrelationID,
		Data:          data,
	})
	return nil
}

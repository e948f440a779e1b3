package notification

import (
	"fmt"
	"slices"
)

// State of a delivery.
type State string

const (
	Pending    State = "pending"
	Sending    State = "sending"
	Retrying   State = "retrying"
	Sent       State = "sent"
	Failed     State = "failed"
	Suppressed State = "suppressed" // a duplicate
)

var transitions = map[State][]State{
	Pending:  {Sending, Failed, Suppressed},
	Sending:  {Sent, Retrying, Failed},
	Retrying: {Sending},
}

// Delivery is a notification on its way.
type Delivery struct {
	Notification Notification
	State        State
	Attempts     int
	History      []State
}

func NewDelivery(n Notification) *Delivery {
	return &Delivery{Notification: n, State: Pending, History: []State{Pending}}
}

// To moves the delivery on. A move that the state machine does not have is an
// error and changes nothing.
func (d *Delivery) To(next State) error {
	if !slices.Contains(transitions[d.State], next) {
		return fmt.Errorf("notification %s: no way from %s to %s", d.Notification.ID, d.State, next)
	}
	d.State = next
	d.History = append(d.History, next)
	if next == Sending {
		d.Attempts++
	}
	return nil
}

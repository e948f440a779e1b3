package notification

import (
	"testing"
	"time"
)

func TestWaitDoublesUpToItsLimit(t *testing.T) {
	policy := RetryPolicy{Base: time.Second, Max: 5 * time.Second}
	for attempt, want := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 4: 5, 1000: 5} {
		if got := policy.Wait(attempt); got != want*time.Second {
			t.Errorf("attempt %d: %v, want %v", attempt, got, want*time.Second)
		}
	}
}

func TestNothingFollowsAnEnd(t *testing.T) {
	for _, end := range []State{Sent, Failed, Suppressed} {
		delivery := &Delivery{State: end}
		if err := delivery.To(Sending); err == nil || delivery.State != end || delivery.Attempts != 0 {
			t.Errorf("%s: %v, %+v", end, err, delivery)
		}
	}
}

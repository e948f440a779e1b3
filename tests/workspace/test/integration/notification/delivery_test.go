package notification_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/notification"
	. "github.com/kubernaut/workspace/test/support"
)

// channel fails with its errors, one after another, and then works.
type channel struct {
	errs []error
	sent int
}

func (c *channel) Send(context.Context, notification.Notification) error {
	c.sent++
	if c.sent <= len(c.errs) {
		return c.errs[c.sent-1]
	}
	return nil
}

var errTimeout = errors.New("timeout")

func newNotification() notification.Notification {
	return notification.Notification{ID: uniqueID(), CorrelationID: uniqueID(), Channel: "slack", Subject: "Pod is crash looping", Body: "payments-7d9f"}
}

var _ = Describe("Delivering a notification", func() {
	var (
		client     *audit.Client
		slack      *channel
		dispatcher *notification.Dispatcher
	)

	BeforeEach(func() {
		slack = &channel{}
		client = newClient(func(*audit.Config) {})
		DeferCleanup(client.Close)
		dispatcher = &notification.Dispatcher{
			Channels: map[string]notification.Channel{"slack": slack},
			Policy:   notification.RetryPolicy{MaxAttempts: 3, Base: time.Millisecond, Max: 2 * time.Millisecond},
			Dedup:    &notification.Deduplicator{Redis: cache, Window: time.Minute},
			Audit:    client,
		}
	})

	// trail is the audit trail of n, newest first, when everything is written.
	trail := func(ctx context.Context, n notification.Notification) Page {
		GinkgoHelper()
		Expect(CloseInTime(ctx, client)).To(Succeed())
		return storage.Find(ctx, "correlation_id", n.CorrelationID)
	}

	It("leaves a trail from sending to sent", func(ctx SpecContext) {
		n := newNotification()
		delivery, err := dispatcher.Deliver(ctx, n)
		Expect(err).NotTo(HaveOccurred())
		Expect(delivery.State).To(Equal(notification.Sent))
		Expect(trail(ctx, n).Types()).To(ConsistOf("notification.message.sending", "notification.message.sent"))
	})

	It("tries again after a failure that may pass", func(ctx SpecContext) {
		n := newNotification()
		slack.errs = []error{errTimeout, errTimeout}
		delivery, err := dispatcher.Deliver(ctx, n)
		Expect(err).NotTo(HaveOccurred())
		Expect(delivery.Attempts).To(Equal(3))
		Expect(delivery.History).To(Equal([]notification.State{
			notification.Pending, notification.Sending, notification.Retrying, notification.Sending,
			notification.Retrying, notification.Sending, notification.Sent,
		}))
		Expect(trail(ctx, n).Pagination.Total).To(Equal(6))
	})

	It("gives up after the last attempt that its policy allows", func(ctx SpecContext) {
		slack.errs = []error{errTimeout, errTimeout, errTimeout, errTimeout}
		delivery, err := dispatcher.Deliver(ctx, newNotification())
		Expect(err).To(MatchError(errTimeout))
		Expect(delivery.State).To(Equal(notification.Failed))
		Expect(slack.sent).To(Equal(3))
	})

	It("does not try again after a failure that is permanent", func(ctx SpecContext) {
		slack.errs = []error{fmt.Errorf("%w: no such recipient", notification.ErrPermanent)}
		delivery, err := dispatcher.Deliver(ctx, newNotification())
		Expect(err).To(MatchError(notification.ErrPermanent))
		Expect(delivery.Attempts).To(Equal(1))
	})

	It("writes the reason of a failure into the trail", func(ctx SpecContext) {
		n := newNotification()
		slack.errs = []error{fmt.Errorf("%w: no such recipient", notification.ErrPermanent)}
		_, err := dispatcher.Deliver(ctx, n)
		Expect(err).To(HaveOccurred())
		Expect(trail(ctx, n).Pagination.Total).To(Equal(2))
		failed := storage.Find(ctx, "correlation_id", n.CorrelationID, "event_outcome", "failure").Data
		Expect(failed).To(HaveLen(1))
		Expect(string(failed[0].Data)).To(ContainSubstring("no such recipient"))
	})

	It("fails at once for a channel that does not exist", func(ctx SpecContext) {
		n := newNotification()
		n.Channel = "pigeon"
		delivery, err := dispatcher.Deliver(ctx, n)
		Expect(err).To(MatchError(ContainSubstring(`no channel "pigeon"`)))
		Expect(delivery.History).To(Equal([]notification.State{notification.Pending, notification.Failed}))
	})

	It("suppresses the second of two equal messages", func(ctx SpecContext) {
		n := newNotification()
		_, err := dispatcher.Deliver(ctx, n)
		Expect(err).NotTo(HaveOccurred())
		second, err := dispatcher.Deliver(ctx, n)
		Expect(err).NotTo(HaveOccurred())
		Expect(second.State).To(Equal(notification.Suppressed))
		Expect(slack.sent).To(Equal(1))
		Expect(trail(ctx, n).Types()).To(ContainElement("notification.message.suppressed"))
	})

	It("does not take a message for a duplicate whose delivery failed", func(ctx SpecContext) {
		n := newNotification()
		slack.errs = []error{notification.ErrPermanent}
		_, err := dispatcher.Deliver(ctx, n)
		Expect(err).To(HaveOccurred())
		again, err := dispatcher.Deliver(ctx, n)
		Expect(err).NotTo(HaveOccurred())
		Expect(again.State).To(Equal(notification.Sent))
	})

	It("stops between two attempts when its caller has gone", func(ctx SpecContext) {
		slack.errs = []error{errTimeout}
		dispatcher.Policy.Base, dispatcher.Policy.Max = time.Hour, time.Hour
		impatient, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		delivery, err := dispatcher.Deliver(impatient, newNotification())
		Expect(err).To(MatchError(context.DeadlineExceeded))
		Expect(delivery.State).To(Equal(notification.Retrying))
	})
})

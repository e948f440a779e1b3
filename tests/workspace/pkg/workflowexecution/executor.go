package workflowexecution

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Engine runs a workflow and returns when it has ended. It stops when ctx ends.
type Engine interface {
	Run(ctx context.Context, order Order) error
}

// Executor runs orders.
type Executor struct {
	Engine   Engine
	Locks    Locks
	Cooldown Cooldown
	Audit    Recorder
	Events   func(Execution) []Event // EventsOf
	Now      func() time.Time

	Deadline time.Duration // of one execution
	LockTTL  time.Duration
	Renewal  time.Duration // of the lock, while an execution runs; shorter than LockTTL
}

// Execute runs an order unless its target is busy or left alone, and returns how
// that ended. A workflow that fails is no error of Execute's.
func (x *Executor) Execute(ctx context.Context, order Order) (Execution, error) {
	name, err := Name(order.Target)
	if err != nil {
		return Execution{}, err
	}
	e := Execution{Order: order, Name: name}
	if err := x.move(&e, Pending, "", ""); err != nil {
		return e, err
	}
	holder, err := x.Locks.Acquire(ctx, name, order.ID, x.LockTTL)
	if err != nil {
		return e, fmt.Errorf("lock %s: %w", order.Target, err)
	}
	if holder != "" {
		return e, x.move(&e, Skipped, ResourceBusy, fmt.Sprintf("%s is busy with %s", order.Target, holder))
	}
	// Whatever becomes of the caller, what was begun is ended: trail, cooldown, lock.
	after := context.WithoutCancel(ctx)
	return e, errors.Join(x.locked(ctx, &e), x.Locks.Release(after, name, order.ID))
}

// locked looks at the cooldown after the lock was taken: before, the execution
// that begins it might end in between.
func (x *Executor) locked(ctx context.Context, e *Execution) error {
	left, err := x.Cooldown.Left(ctx, e.Name)
	if err != nil {
		return fmt.Errorf("cooldown of %s: %w", e.Order.Target, err)
	}
	if left > 0 {
		return x.move(e, Skipped, RecentlyRemediated, fmt.Sprintf("%s is left alone", e.Order.Target))
	}
	return x.run(ctx, e)
}

func (x *Executor) run(ctx context.Context, e *Execution) error {
	if err := x.move(e, Running, "", ""); err != nil {
		return err
	}
	reason, failure := x.outcome(ctx, e)
	phase, message := Completed, ""
	if failure != nil {
		phase, message = Failed, failure.Error()
	}
	return errors.Join(x.move(e, phase, reason, message), x.cool(context.WithoutCancel(ctx), e))
}

// cool leaves the target alone, except when it is nobody's fault.
func (x *Executor) cool(ctx context.Context, e *Execution) error {
	if e.Reason == Cancelled || e.Reason == LockLost {
		return nil
	}
	return x.Cooldown.Start(ctx, e.Name, e.Phase == Failed)
}

func (x *Executor) outcome(ctx context.Context, e *Execution) (reason string, failure error) {
	ctx, cancel := context.WithTimeout(ctx, x.Deadline)
	defer cancel()
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	go x.keepLock(ctx, e.Name, e.Order.ID, lose)
	failure = x.runEngine(ctx, e.Order)
	switch {
	case failure == nil:
		return "", nil
	case errors.Is(context.Cause(ctx), ErrLockLost):
		return LockLost, ErrLockLost
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return DeadlineExceeded, fmt.Errorf("not ended after %v: %w", x.Deadline, failure)
	case ctx.Err() != nil:
		return Cancelled, failure
	}
	return TaskFailed, failure
}

// runEngine makes a failure of a panic: one workflow must not end the others.
func (x *Executor) runEngine(ctx context.Context, order Order) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return x.Engine.Run(ctx, order)
}

func (x *Executor) keepLock(ctx context.Context, name, owner string, lose context.CancelCauseFunc) {
	ticker := time.NewTicker(x.Renewal)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			// A Redis that does not answer once is no reason: the lock lives on till its end.
			if err := x.Locks.Renew(ctx, name, owner, x.LockTTL); errors.Is(err, ErrLockLost) {
				lose(err)
				return
			}
		}
	}
}

func (x *Executor) move(e *Execution, to Phase, reason, message string) error {
	if err := e.to(to, x.Now(), reason, message); err != nil {
		return err
	}
	events := x.Events(*e)
	// The audit client counts what it drops: a full buffer must not stop an execution.
	_ = x.Audit.Record(events[len(events)-1])
	return nil
}

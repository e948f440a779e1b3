package contextapi

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Invalidate drops what may have actions of a namespace in it, here, in Redis
// and in the memory of all that Listen; everything for an empty namespace.
func (c *Cache) Invalidate(ctx context.Context, namespace string) error {
	c.forget(namespace)
	for _, scope := range scopes(namespace) {
		if err := c.unlink(ctx, globEscape(c.RedisKey(""))+scope+":*"); err != nil {
			return fmt.Errorf("invalidate %q in Redis: %w", namespace, err)
		}
	}
	// Again: a reader may have taken from Redis meanwhile what was to go.
	c.forget(namespace)
	return c.cfg.Redis.Publish(ctx, c.channel(), namespace).Err()
}

// The scope "*" of entries about all namespaces is a pattern for every scope.
func scopes(namespace string) []string {
	if namespace == "" {
		return []string{"*"}
	}
	return []string{url.QueryEscape(namespace), globEscape(everywhere)}
}

var globEscape = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `\`, `\\`).Replace

func (c *Cache) unlink(ctx context.Context, pattern string) error {
	keys := c.cfg.Redis.Scan(ctx, 0, pattern, 500).Iterator()
	for keys.Next(ctx) {
		if err := c.cfg.Redis.Unlink(ctx, keys.Val()).Err(); err != nil {
			return err
		}
	}
	return keys.Err()
}

func (c *Cache) forget(namespace string) {
	c.generation.Add(1)
	c.memory.drop(func(key string) bool {
		scope, _, _ := strings.Cut(key, ":")
		return namespace == "" || scope == everywhere || scope == url.QueryEscape(namespace)
	})
}

// The channel has the prefix in its name: Redis publishes to all its databases.
func (c *Cache) channel() string { return c.cfg.Prefix + ":context:invalidations" }

// Listen drops from memory what other processes invalidate. When it returns it
// is subscribed; it ends with ctx.
func (c *Cache) Listen(ctx context.Context) error {
	subscription := c.cfg.Redis.Subscribe(ctx, c.channel())
	if _, err := subscription.Receive(ctx); err != nil {
		return errors.Join(err, subscription.Close())
	}
	go func() {
		messages := subscription.Channel()
		for {
			select {
			case message := <-messages:
				c.forget(message.Payload)
			case <-ctx.Done():
				_ = subscription.Close()
				return
			}
		}
	}()
	return nil
}

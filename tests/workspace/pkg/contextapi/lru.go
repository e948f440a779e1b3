package contextapi

import (
	"container/list"
	"sync"
	"time"
)

// lru is the cache in memory: a bounded number of entries, of which the one
// that was not read for longest goes first, and a time to live for each.
type lru struct {
	mu       sync.Mutex
	capacity int
	ttl      time.Duration
	now      func() time.Time
	recent   *list.List // of *entry, the one read last in front
	byKey    map[string]*list.Element
}

type entry struct {
	key     string
	body    []byte
	expires time.Time
}

func newLRU(capacity int, ttl time.Duration, now func() time.Time) *lru {
	return &lru{capacity: capacity, ttl: ttl, now: now, recent: list.New(), byKey: map[string]*list.Element{}}
}

func (c *lru) get(key string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.byKey[key]
	if !ok {
		return nil, false
	}
	found := element.Value.(*entry)
	if !c.now().Before(found.expires) {
		c.remove(element)
		return nil, false
	}
	c.recent.MoveToFront(element)
	return found.body, true
}

func (c *lru) put(key string, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.byKey[key]; ok {
		c.remove(element)
	}
	c.byKey[key] = c.recent.PushFront(&entry{key: key, body: body, expires: c.now().Add(c.ttl)})
	for c.recent.Len() > c.capacity {
		c.remove(c.recent.Back())
	}
}

// drop removes the entries whose key matches.
func (c *lru) drop(matches func(key string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, element := range c.byKey {
		if matches(key) {
			c.remove(element)
		}
	}
}

func (c *lru) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recent.Len()
}

func (c *lru) remove(element *list.Element) {
	delete(c.byKey, element.Value.(*entry).key)
	c.recent.Remove(element)
}

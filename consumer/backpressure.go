package consumer

import (
	"time"

	"invoicebox-worker/internal/backoff"
)

const (
	capacityPollInterval = 250 * time.Millisecond // between calls of CanFetch while fetching is paused
	lagPollInterval      = 10 * time.Second       // between updates of the lag meanwhile
)

// canFetch calls CanFetch and logs when the result changes.
func (c *Consumer) canFetch() (ok bool, why string) {
	if c.config.CanFetch == nil {
		return true, ""
	}
	ok, why = c.config.CanFetch()
	if c.paused.Swap(!ok) != !ok {
		if ok {
			c.metrics.paused.Set(0)
			c.log.Info("resumed fetching")
		} else {
			c.metrics.paused.Set(1)
			c.log.Error("paused fetching, records wait in Kafka", "reason", why)
		}
	}
	return ok, why
}

// waitForCapacity waits until more may be fetched, or the generation ends. The member
// stays in its group, and the watchdog does not count the wait.
func (p *partition) waitForCapacity() {
	var looked time.Time
	for {
		if ok, _ := p.g.c.canFetch(); ok || p.g.fetchCtx.Err() != nil {
			return
		}
		p.markIdle()
		p.moved()
		// The lag grows meanwhile, and an alert may depend on it.
		if time.Since(looked) >= lagPollInterval {
			looked = time.Now()
			if limits, err := p.g.c.logBounds(p.g.fetchCtx, []topicPartition{p.topicPartition}); err == nil {
				p.g.c.metrics.setPosition(p.topic, p.partition, p.position, limits[p.topicPartition].end-p.position, p.newest)
			}
		}
		backoff.Sleep(p.g.fetchCtx, capacityPollInterval)
	}
}

// markIdle notes that the reader does not wait for the broker.
func (p *partition) markIdle() {
	p.reader.stall.stop()
}

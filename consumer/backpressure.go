package consumer

import (
	"time"

	"invoicebox-worker/internal/backoff"
)

const (
	capacityPollInterval = 250 * time.Millisecond // how often a reader that holds asks again
	lagPollInterval      = 10 * time.Second       // how often it looks how far it lags
)

// canFetch asks whether more may be fetched and says so when that changes.
func (c *Consumer) canFetch() (ok bool, why string) {
	if c.config.CanFetch == nil {
		return true, ""
	}
	ok, why = c.config.CanFetch()
	if c.paused.Swap(!ok) != !ok {
		if ok {
			c.metrics.paused.Set(0)
			c.log.Info("there is room again: fetching goes on")
		} else {
			c.metrics.paused.Set(1)
			c.log.Error("fetching is stopped, records wait in Kafka", "why", why)
		}
	}
	return ok, why
}

// waitForCapacity waits until there is room for more, or the generation ends. The member
// stays in its group, and its silence is not taken for a fault.
func (p *partition) waitForCapacity() {
	var looked time.Time
	for {
		if ok, _ := p.g.c.canFetch(); ok || p.g.fetchCtx.Err() != nil {
			return
		}
		p.markIdle()
		// The lag grows meanwhile, and an alert may wait for it.
		if time.Since(looked) >= lagPollInterval {
			looked = time.Now()
			if limits, err := p.g.c.logBounds(p.g.fetchCtx, []topicPartition{p.topicPartition}); err == nil {
				p.g.c.metrics.setPosition(p.topic, p.partition, p.position, limits[p.topicPartition].end-p.position)
			}
		}
		backoff.Sleep(p.g.fetchCtx, capacityPollInterval)
	}
}

// markIdle notes that the reader does not wait for the broker.
func (p *partition) markIdle() {
	p.reader.stall.stop()
}

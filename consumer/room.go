package consumer

import "time"

const (
	roomEvery = 250 * time.Millisecond // how often a reader that holds asks again
	lagEvery  = 10 * time.Second       // how often it looks how far it lags
)

// room asks whether more may be fetched and says so when that changes.
func (c *Consumer) room() (ok bool, why string) {
	if c.config.Room == nil {
		return true, ""
	}
	ok, why = c.config.Room()
	if c.holding.Swap(!ok) != !ok {
		if ok {
			c.metrics.holding.Set(0)
			c.log.Info("there is room again: fetching goes on")
		} else {
			c.metrics.holding.Set(1)
			c.log.Error("fetching is stopped, records wait in Kafka", "why", why)
		}
	}
	return ok, why
}

// hold waits until there is room for more, or the generation ends. The member
// stays in its group, and its silence is not taken for a fault.
func (p *partition) hold() {
	var looked time.Time
	for {
		if ok, _ := p.g.c.room(); ok || p.g.soft.Err() != nil {
			return
		}
		p.restsOn()
		// The lag grows meanwhile, and an alert may wait for it.
		if time.Since(looked) >= lagEvery {
			looked = time.Now()
			if limits, err := p.g.c.bounds(p.g.soft, []place{p.place}); err == nil {
				p.g.c.metrics.at(p.topic, p.partition, p.position, limits[p.place].end-p.position)
			}
		}
		pause(p.g.soft, roomEvery)
	}
}

// restsOn notes that the reader does not wait for the broker.
func (p *partition) restsOn() {
	p.reader.silence.end()
}

package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Stop ends broker i (from 0) as an operator does, with SIGTERM, and returns
// when it is gone. On the embedded broker this and the four below give an error
// that is errors.ErrUnsupported: use [Cluster.Fake] there.
func (c *Cluster) Stop(i int) error {
	n, err := c.node(i)
	if err != nil {
		return err
	}
	process, ended, err := n.current()
	if err != nil {
		return err
	}
	if err := terminate(process); err != nil {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-time.After(stopTime):
		return errors.Join(fmt.Errorf("kafkatest: broker %d did not stop in %s", i, stopTime), n.kill())
	}
}

// Kill ends broker i with SIGKILL and returns when it is gone. The others miss
// it after broker.session.timeout.ms, 9 s by default.
func (c *Cluster) Kill(i int) error {
	n, err := c.node(i)
	if err != nil {
		return err
	}
	return n.kill()
}

// Start starts broker i again, on its old address with its old data, and
// returns when it answers. After a Kill it is let in only when the others, or
// its own former self, have missed it for broker.session.timeout.ms.
func (c *Cluster) Start(i int) error {
	n, err := c.node(i)
	if err != nil {
		return err
	}
	if err := n.launch(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.awaitReady(ctx)
}

// Pause freezes broker i with SIGSTOP: its connections stay open and nothing
// answers on them.
func (c *Cluster) Pause(i int) error { return c.signal(i, suspend) }

// Resume lets a frozen broker go on.
func (c *Cluster) Resume(i int) error { return c.signal(i, resume) }

func (c *Cluster) signal(i int, send func(*os.Process) error) error {
	n, err := c.node(i)
	if err != nil {
		return err
	}
	process, _, err := n.current()
	if err != nil {
		return err
	}
	return send(process)
}

func (c *Cluster) node(i int) (*node, error) {
	if c.nodes == nil {
		return nil, fmt.Errorf("kafkatest: the embedded broker has no process: %w", errors.ErrUnsupported)
	}
	if i < 0 || i >= len(c.nodes) {
		return nil, fmt.Errorf("kafkatest: there is no broker %d of %d", i, len(c.nodes))
	}
	return c.nodes[i], nil
}

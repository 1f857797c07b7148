package sqlite

// Changed is signalled after a commit by which an operation may have become due.
func (j *Journal) Changed() <-chan struct{} { return j.changed }

// IntentsChanged is signalled after a commit of this process that wrote one.
func (j *Journal) IntentsChanged() <-chan struct{} { return j.intents }

// OutboxChanged is signalled after a commit that queued an event.
func (j *Journal) OutboxChanged() <-chan struct{} { return j.outbox }

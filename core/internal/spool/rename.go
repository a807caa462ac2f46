package spool

import (
	"context"
	"encoding/binary"
	"fmt"
)

// What a of a position's frame says.
const (
	positionForgotten = 0
	positionKnown     = 1
	positionMoved     = 2 // the payload is the number, uvarint, of the device that goes on under another name
)

// KnowsDevice says whether there is anything on the disk that is the device's: records, or a position. One that goes on under
// another name has nothing any more.
func (s *Spool) KnowsDevice(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.byName[name]
	if !ok || int(n) >= len(s.state.devices) {
		return false
	}
	d := &s.state.devices[n]
	return d.known || d.records > 0
}

// RenameDevice lets a device go on under another name, and returns when that is on the disk: its position is the other's, its
// records count for it and are found under both names, and each keeps the name that it was stored under, by which sinks know it
// again. A device of the old name is a new one from then on. ErrUnknownDevice: nothing is known of it. ErrKnownDevice: the other
// one has a history of its own. Neither may run meanwhile. The end of ctx leaves it open which name counts after a crash.
func (s *Spool) RenameDevice(ctx context.Context, name, to string) error {
	done := make(chan error, 1)
	n, err := s.rename(name, to, func(err error) { done <- err })
	if err != nil {
		return fmt.Errorf("rename device %s: %w", name, err)
	}
	select {
	case err = <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err != nil {
		s.unname(name, n)
		return fmt.Errorf("rename device %s: %w", name, err)
	}
	return nil
}

func (s *Spool) rename(name, to string, done func(error)) (n uint32, err error) {
	switch {
	case len(to) == 0 || len(to) > maxName:
		return 0, fmt.Errorf("name of %d bytes: %w", len(to), ErrTooLarge)
	case s.KnowsDevice(to):
		return 0, ErrKnownDevice
	case !s.KnowsDevice(name):
		return 0, ErrUnknownDevice
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return 0, ErrClosed
	}
	heir, err := s.deviceNumber(to)
	if err != nil {
		return 0, err
	}
	n = s.byName[name]
	delete(s.byName, name)
	s.gather.add(header{kind: kindPosition, num: n, a: positionMoved}, binary.AppendUvarint(nil, uint64(heir)))
	s.joined(s.gather, done)
	return n, nil
}

// unname gives a device that could not be renamed its number back.
func (s *Spool) unname(name string, n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byName[name] = n
}

// called says whether the device with that number has the name, or goes on under it.
func (s *Spool) called(n uint32, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return called(s.state.devices, n, name)
}

func called(list []deviceState, n uint32, name string) bool {
	for range list {
		if nameOf(list, n) == name {
			return true
		}
		heir, ok := heirOf(list, n)
		if !ok {
			return false
		}
		n = heir
	}
	return false
}

// heirOf is the number of the device that goes on for the one with that number; false where it goes on itself.
func heirOf(list []deviceState, n uint32) (uint32, bool) {
	if int(n) >= len(list) || list[n].known {
		return 0, false
	}
	heir, size := binary.Uvarint(list[n].position)
	return uint32(heir), size > 0 && heir < uint64(len(list)) && uint32(heir) != n
}

// moved lets the device go on as the one whose number is the payload.
func (s *state) moved(n uint32, payload []byte) {
	to, size := binary.Uvarint(payload)
	if size <= 0 || to >= maxDevices || uint32(to) == n {
		return
	}
	heir := s.device(uint32(to)) // first: the list may move
	d := s.device(n)
	if d.known {
		heir.known, heir.position = true, append([]byte(nil), d.position...)
	}
	d.known, d.position = false, append([]byte(nil), payload...)
}

// deviceStats counts what each device has, what it had under other names included.
func (s *state) deviceStats() []DeviceStats {
	list, at := []DeviceStats{}, map[uint32]int{}
	for n := range s.devices {
		if _, gone := heirOf(s.devices, uint32(n)); !gone {
			at[uint32(n)] = len(list)
			list = append(list, DeviceStats{Name: s.devices[n].name})
		}
	}
	for n := range s.devices {
		now := uint32(n)
		for range s.devices {
			heir, gone := heirOf(s.devices, now)
			if !gone {
				break
			}
			now = heir
		}
		i, ok := at[now]
		if !ok {
			continue // a ring of names: nothing that we have written
		}
		k, d := &list[i], &s.devices[n]
		k.Records += d.records
		k.Unrouted += d.unrouted
		if latest := unixTime(d.latest); latest.After(k.Latest) {
			k.Latest = latest
		}
	}
	return list
}

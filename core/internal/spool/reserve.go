package spool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// reserveFile is removed when the disk is full: what it held lets cursors and dead letters be written, so that delivery
// goes on and makes room. Records are refused from then until it can be made again.
const reserveFile = "reserve"

// Held is how many bytes the segments in a spool's folder have, and its reserve. No file is opened.
func Held(dir string) (segments, reserve int64, err error) {
	files, err := osDisk().dirs.List(dir)
	for _, f := range files {
		switch {
		case strings.HasSuffix(f.Name(), ".seg"):
			segments += f.Size()
		case f.Name() == reserveFile:
			reserve = f.Size()
		}
	}
	return segments, reserve, err
}

// Room is nil while records are taken. While the disk is full it is a channel that is closed when they are again.
func (s *Spool) Room() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

func (s *Spool) isLow() bool { return s.Room() != nil }

// setReserve notes whether the reserve is there; changed says that records were taken before and are not now, or the
// other way round.
func (s *Spool) setReserve(there bool) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved = there
	switch low := s.full != nil; {
	case low && there:
		close(s.full)
		s.full = nil
	case !low && !there:
		s.full = make(chan struct{})
	default:
		return false
	}
	return true
}

func (s *Spool) hasReserve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reserved
}

// refill makes the reserve where it is not there. It is called by Open and by Run's goroutine.
func (s *Spool) refill() {
	if s.opt.Reserve <= 0 || s.hasReserve() {
		return
	}
	path := filepath.Join(s.dir, reserveFile)
	if size, err := s.disk.dirs.Size(path); err == nil && size == s.opt.Reserve {
		s.setReserve(true)
		return
	}
	if err := s.fillReserve(path); err != nil {
		err = errors.Join(err, s.disk.Remove(path))
		if s.setReserve(false) {
			s.log.Error("no room for the spool's reserve: no records are taken until there is", "bytes", s.opt.Reserve, "err", err)
		}
		return
	}
	if s.setReserve(true) {
		s.log.Info("the spool's reserve is there again: records are taken")
	}
}

// fillReserve writes zeros: a file that only has its size would hold no room.
func (s *Spool) fillReserve(path string) error {
	f, err := s.disk.Open(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	zeros := make([]byte, min(s.opt.Reserve, chunk))
	for at := int64(0); at < s.opt.Reserve && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), s.opt.Reserve-at)], at)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// spend gives the reserve's room away, and says whether there was one.
func (s *Spool) spend() bool {
	if !s.hasReserve() {
		return false
	}
	s.setReserve(false)
	s.log.Error("the disk is full: no records are taken, and delivery goes on with the reserve")
	if err := s.disk.Remove(filepath.Join(s.dir, reserveFile)); err != nil {
		s.log.Error("reserve not given away", "err", err)
		return false
	}
	return true
}

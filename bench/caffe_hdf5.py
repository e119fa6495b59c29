"""Small files as Caffe leaves them in HDF5: weights, a solver's state, data to train on.

    python bench/caffe_hdf5.py FILE.tar.gz

crates/formats/tests/caffe_hdf5.tar.gz is what this makes. Names and types are those of Caffe's Net::ToHDF5,
SGDSolver::SnapshotSolverStateToHDF5 and the helpers of util/hdf5.cpp (float arrays, 32-bit integers of shape (1), a
string that ends with 0).
"""
import io
import sys
import tarfile

import h5py
import numpy as np


def counted(*shape):
    """Numbers that tell their places."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 8


def text(group, name, value):
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(value) + 1)
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    made = h5py.h5d.create(group.id, name.encode(), kind, space)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(value.encode(), dtype=f"S{len(value) + 1}"), mtype=kind)


def weights(file):
    for layer, blobs in {
        "conv": [counted(4, 2, 3, 3), counted(4)],
        "bn": [counted(4), counted(4) + 1, np.array([2], np.float32)],
        "fc": [counted(3, 64), counted(3)],
        "none": [],
    }.items():
        group = file.create_group(f"data/{layer}")
        for number, blob in enumerate(blobs):
            group[str(number)] = blob


def state(file):
    file["iter"] = np.array([70], np.int32)
    file["current_step"] = np.array([2], np.int32)
    text(file, "learned_net", "net_iter_70.caffemodel.h5")
    group = file.create_group("history")
    for number, blob in enumerate([counted(4, 2, 3, 3), counted(4), counted(3, 64), counted(3)]):
        group[str(number)] = blob


def data(file):
    file["data"] = counted(5, 2, 3, 4)
    file["label"] = np.arange(5, dtype=np.float32).reshape(5, 1)


with tarfile.open(sys.argv[1], "w:gz") as archive:
    for name, fill in {"net.caffemodel.h5": weights, "net.solverstate.h5": state, "data.h5": data}.items():
        packed = io.BytesIO()
        with h5py.File(packed, "w") as file:
            fill(file)
        member = tarfile.TarInfo(name)
        member.size = len(packed.getvalue())
        packed.seek(0)
        archive.addfile(member, packed)

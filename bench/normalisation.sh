#!/bin/sh
# BatchNorm, none, or GroupNorm, at batches of 2, 10 and 64? Trains one small network with each on a part of CIFAR-10,
# three seeds each, at the same rate per image, and compares.
#
#   bench/normalisation.sh cifar10-jpeg.tar.gz [FOLDER] [IMAGES A CLASS] [EPOCHS]
set -eu
archive=$1
work=${2:-$(mktemp -d)}
images=${3:-300}
epochs=${4:-4}
ocellus=${OCELLUS:-ocellus}

mkdir -p "$work/all" "$work/part/train" "$work/part/val" "$work/nets"
[ -d "$work/all/cifar10" ] || tar xzf "$archive" -C "$work/all"
for class in "$work/all/cifar10/train"/*; do
    name=$(basename "$class")
    for part in train val; do
        [ -e "$work/part/$part/$name" ] && continue
        mkdir "$work/part/$part/$name"
        # The first in the order of their names train, the first of the test images validate: the same in every run.
        case $part in train) from=$class count=$images ;; *) from=$work/all/cifar10/test/$name count=100 ;; esac
        for picture in $(ls "$from" | head -"$count"); do
            ln "$from/$picture" "$work/part/$part/$name/"
        done
    done
done

# A block of the network in its text form: convolution, what stands in the place of a norm, ReLU, pooling.
block() { # NORM BLOCK FROM CHANNELS-IN CHANNELS
    echo "param conv$2.weight ($5, $4, 3, 3) init=variance_scaling:1.4142135:in:normal"
    echo "param conv$2.bias ($5) init=constant:0"
    echo "conv$2 = conv2d($3, conv$2.weight, conv$2.bias; kernel=3x3 stride=1x1 padding=1,1,1,1 dilation=1x1 groups=1)"
    if [ "$1" != none ]; then
        echo "param norm$2.weight ($5) init=constant:1"
        echo "param norm$2.bias ($5) init=constant:0"
    fi
    case $1 in
    batch)
        echo "param norm$2.running_mean ($5) init=constant:0 role=statistic"
        echo "param norm$2.running_var ($5) init=constant:1 role=statistic"
        echo "norm$2 = batch_norm(conv$2, norm$2.weight, norm$2.bias, norm$2.running_mean, norm$2.running_var;" \
            "eps=1e-5 momentum=0.1 affine=true statistics=running)"
        ;;
    group) echo "norm$2 = group_norm(conv$2, norm$2.weight, norm$2.bias; groups=8 eps=1e-5 affine=true)" ;;
    esac
    if [ "$1" = none ]; then echo "relu$2 = relu(conv$2)"; else echo "relu$2 = relu(norm$2)"; fi
    echo "pool$2 = max_pool(relu$2; kernel=2x2 stride=2x2 padding=0,0,0,0 dilation=1x1 rounding=floor)"
}

for norm in batch none group; do
    {
        echo "network small_$norm"
        echo "input input (1, 3, 32, 32)"
        block $norm 1 input 3 16
        block $norm 2 pool1 16 32
        block $norm 3 pool2 32 64
        echo "flatten = reshape(pool3; dims=[0,-1])"
        echo "param fc.weight (10, 1024) init=variance_scaling:0.57735026:in:uniform"
        echo "param fc.bias (10) init=constant:0"
        echo "fc = linear(flatten, fc.weight, fc.bias)"
        echo "output output = fc"
    } >"$work/nets/$norm.txt"
done

for batch in 2 10 64; do
    # The rate grows with the batch, so that every image moves the weights as far.
    case $batch in 2) rate=0.001 ;; 10) rate=0.005 ;; *) rate=0.032 ;; esac
    for norm in batch none group; do
        for seed in 0 1 2; do
            out=$work/runs/$norm-$batch-$seed
            [ -e "$out/best.safetensors" ] && "$ocellus" train "$work/part" --out "$out" --resume >/dev/null && continue
            "$ocellus" train "$work/part" --model "$work/nets/$norm.txt" --epochs "$epochs" --batch $batch --lr $rate \
                --optimizer sgd --schedule one-cycle --label-smoothing 0 --no-augment --seed $seed --out "$out"
        done
    done
done
for batch in 2 10 64; do
    echo "batch $batch"
    "$ocellus" compare "$work/runs"/*-$batch-? --out "$work/compare-$batch.html"
done

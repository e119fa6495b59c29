"""Models of every layer that is read, saved by Keras in each of its forms, with outputs to compare with.

    python bench/keras_cases.py FOLDER [NAME ...]
    KERAS_CASES=FOLDER cargo test -p ocellus-formats --test keras -- --ignored --nocapture

Runs with Keras 3 (on any backend; JAX unless KERAS_BACKEND says otherwise) and with TensorFlow 2.15, which brings Keras 2.
Some of what both make lies packed in crates/formats/tests/keras_cases.tar.gz.
"""
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ["TF_CPP_MIN_LOG_LEVEL"]="3"
import numpy as np
import keras
from keras import layers as L
V3 = keras.__version__.startswith("3")
OUT = sys.argv[1]; only = sys.argv[2:]
os.makedirs(OUT, exist_ok=True)
rng = np.random.default_rng(7)

def I(*s, **k): return keras.Input(shape=s, **k)
def F(ins, outs, name=None): return keras.Model(ins, outs, name=name)
M = {}
def model(f): M[f.__name__] = f; return f

@model
def seq_cnn():
    return keras.Sequential([I(12,10,3), L.Rescaling(1/127.5, offset=-1), L.Conv2D(4,3,padding="same",strides=2,activation="relu"),
        L.BatchNormalization(), L.MaxPooling2D(2,padding="same"), L.Conv2D(6,(3,2),dilation_rate=1,use_bias=False),
        L.Flatten(), L.Dropout(0.5), L.Dense(7,activation="elu"), L.Dense(5,activation="softmax")], name="seq_cnn")
@model
def mnist_dense():
    return keras.Sequential([I(6,5), L.Flatten(), L.Dense(8,activation="relu"), L.Dropout(0.2), L.Dense(3)])
@model
def sep():
    x=i=I(11,9,4)
    x=L.SeparableConv2D(6,3,padding="same",strides=2,depth_multiplier=2,activation="swish")(x)
    x=L.DepthwiseConv2D(3,padding="valid",depth_multiplier=2)(x)
    x=L.BatchNormalization(scale=False,epsilon=0.01)(x)
    x=L.ReLU(6.0)(x)
    x=L.GlobalAveragePooling2D(keepdims=True)(x)
    x=L.Conv2D(3,1,activation="sigmoid")(x)
    x=L.Reshape((3,))(x)
    return F(i,x)
@model
def transp():
    x=i=I(5,6,3)
    x=L.Conv2DTranspose(4,3,strides=2,padding="same")(x)
    x=L.Conv2DTranspose(5,4,strides=3,padding="valid",activation="tanh")(x)
    x=L.Conv2DTranspose(2,2,strides=2,padding="same",use_bias=False)(x)
    x=L.Conv2DTranspose(2,3,strides=2,padding="same",output_padding=1)(x)
    x=L.Cropping2D(((1,2),(3,0)))(x)
    x=L.ZeroPadding2D(((0,1),(2,3)))(x)
    x=L.UpSampling2D((2,1))(x)
    x=L.AveragePooling2D(3,strides=2,padding="same")(x)
    return F(i,x)
@model
def acts():
    x=i=I(4,5,6); o=[]
    for a in ["relu","relu6","elu","selu","softplus","softsign","tanh","sigmoid","exponential","hard_sigmoid","gelu","swish","linear","softmax"]:
        if a=="relu6" and not V3: continue
        o.append(L.Activation(a)(x))
    o += [L.LeakyReLU()(x), L.PReLU()(x), L.PReLU(shared_axes=[1,2])(x), L.ELU(0.7)(x), L.Softmax()(x), L.Softmax(axis=1)(x), L.ReLU(max_value=2,negative_slope=0.1,threshold=0.5)(x), L.ReLU(threshold=1.0)(x)]
    if V3:
        for a in ["silu","mish","log_softmax","hard_silu","leaky_relu","celu","hard_tanh","log_sigmoid","tanh_shrink","soft_shrink","hard_shrink"]:
            try: o.append(L.Activation(a)(x))
            except Exception as e: print("no act", a)
    return F(i,L.Concatenate()(o))
@model
def merges():
    a=I(6,6,3,name="a"); b=I(6,6,3,name="b")
    x=L.Conv2D(3,3,padding="same")(a); y=L.Conv2D(3,1)(b)
    o=[L.Add()([x,y,a]),L.Subtract()([x,y]),L.Multiply()([x,y]),L.Average()([x,y,b]),L.Maximum()([x,y]),L.Minimum()([x,y]),L.Concatenate(axis=1)([L.Cropping2D(((0,3),(0,0)))(x),L.Cropping2D(((3,0),(0,0)))(y)])]
    g=L.GlobalMaxPooling2D()(x); g=L.Dense(3,activation="sigmoid")(g); g=L.Reshape((1,1,3))(g)
    o.append(L.Multiply()([y,g]))
    return F([a,b],L.Concatenate(axis=-1)(o))
@model
def dense_rank():
    x=i=I(4,5,6)
    x=L.Dense(7,activation="relu")(x)
    x=L.Permute((3,1,2))(x)
    x=L.Dense(4)(x)
    x=L.Reshape((14,-1))(x)
    x=L.Dense(3)(x)
    x=L.Flatten()(x)
    x=L.BatchNormalization()(x)
    return F(i,x)
@model
def flat_bn():
    x=i=I(4,5,3)
    x=L.Conv2D(4,2)(x)
    x=L.Flatten()(x)
    x=L.BatchNormalization()(x)
    x=L.Activation("relu")(x)
    y=L.Dense(5)(x)
    z=L.Reshape((3,4,4))(x)
    z=L.GlobalAveragePooling2D()(z)
    z=L.Dense(5)(z)
    return F(i,L.Add()([y,z]))
@model
def norms():
    x=i=I(4,5,6)
    x=L.LayerNormalization()(x)
    x=L.Conv2D(8,1)(x)
    if hasattr(L,"GroupNormalization"): x=L.GroupNormalization(4)(x)
    x=L.LayerNormalization(axis=[1,2,3])(x)
    x=L.BatchNormalization(axis=1)(x)
    x=L.UnitNormalization()(x) if hasattr(L,"UnitNormalization") else x
    x=L.LayerNormalization(center=False)(x)
    if hasattr(L,"GroupNormalization"): x=L.GroupNormalization(-1)(x)
    x=L.BatchNormalization(center=False)(x)
    return F(i,x)
@model
def normalization():
    x=i=I(6,5,3)
    n=L.Normalization(axis=-1); n.adapt(rng.normal(3,2,(4,6,5,3)).astype("float32"))
    x=n(x)
    x=L.Normalization(mean=[1.0,2.0,3.0],variance=[4.0,1.0,2.0])(x)
    x=L.RandomFlip("horizontal")(x); x=L.RandomRotation(0.1)(x); x=L.RandomZoom(0.1)(x)
    x=L.GaussianNoise(0.1)(x); x=L.SpatialDropout2D(0.1)(x)
    x=L.CenterCrop(4,4)(x)
    return F(i,x)
@model
def resize():
    x=i=I(6,5,3)
    a=L.UpSampling2D(2,interpolation="bilinear")(x)
    b=L.Resizing(12,10)(x)
    c=L.Resizing(12,10,interpolation="nearest")(x)
    d=L.Resizing(4,3)(x)
    d=L.ZeroPadding2D(((0,8),(0,7)))(d)
    return F(i,L.Concatenate()([a,b,c,d]))
@model
def conv1d():
    x=i=I(20,3)
    x=L.Conv1D(4,3,padding="same",strides=2,activation="relu")(x)
    x=L.BatchNormalization()(x)
    x=L.MaxPooling1D(2,padding="same")(x)
    x=L.ZeroPadding1D(2)(x)
    x=L.Conv1D(5,3,padding="causal",dilation_rate=2)(x)
    x=L.SeparableConv1D(6,3,padding="same")(x)
    x=L.UpSampling1D(2)(x)
    y=L.GlobalAveragePooling1D()(x); z=L.GlobalMaxPooling1D()(x)
    w=L.Flatten()(L.AveragePooling1D(3)(x))
    return F(i,L.Dense(4)(L.Concatenate()([y,z,w])))
@model
def nested():
    base_in=I(8,8,3); h=L.Conv2D(4,3,name="c1")(base_in); h=L.BatchNormalization(name="b1")(h); h=L.Conv2D(5,3,name="c2",activation="relu")(h)
    base=F(base_in,h,name="base")
    aug=keras.Sequential([L.RandomFlip("horizontal"),L.RandomRotation(0.1)],name="aug")
    head=keras.Sequential([L.GlobalAveragePooling2D(),L.Dense(6,activation="relu"),L.Dense(3)],name="head")
    i=I(8,8,3); x=aug(i); x=base(x); 
    return F(i,head(x),name="outer")
@model
def nested_frozen():
    base_in=I(8,8,3); h=L.Conv2D(4,3,name="c1")(base_in); h=L.BatchNormalization(name="b1")(h); h=L.Conv2D(5,3,name="c2",activation="relu")(h)
    base=F(base_in,h,name="base"); base.trainable=False
    return keras.Sequential([I(8,8,3),base,L.GlobalMaxPooling2D(),L.Dense(3)])
@model
def shared():
    a=I(6,6,2,name="left"); b=I(6,6,2,name="right")
    c=L.Conv2D(3,3,name="c"); d=L.Dense(4,name="d")
    tin=I(4,4,3); tower=F(tin,L.Dense(3)(L.Flatten()(L.Conv2D(2,2)(tin))),name="tower")
    x=c(a); y=c(b)
    tx=tower(x); ty=tower(y)
    return F([a,b],[L.Subtract()([tx,ty]), d(L.Concatenate()([tx,ty]))])
@model
def arith():
    i=I(5,5,3)
    x=i/127.5; x=x-1.0; x=2.0*x+0.5; x=1.0-x
    y=L.Conv2D(3,1)(x)
    x=x+y; x=x*y
    if V3:
        from keras import ops
        x=ops.relu(x); x=ops.mean(x,axis=[1,2]); 
    else:
        import tensorflow as tf
        x=tf.nn.relu(x); x=tf.reduce_mean(x,axis=[1,2])
    return F(i,x)
@model
def pool_edges():
    x=i=I(7,10,2)
    a=L.MaxPooling2D(3,strides=2,padding="same")(x); b=L.AveragePooling2D((2,3),strides=(2,2),padding="same")(x); c=L.Conv2D(3,5,strides=2,padding="same")(x)
    d=L.DepthwiseConv2D(4,strides=2,padding="same")(x)
    return F(i,L.Concatenate()([a,b,c,d]))
@model
def grouped():
    x=i=I(7,7,4)
    x=L.Conv2D(8,3,groups=2,padding="same")(x)
    x=L.Conv2D(6,3,dilation_rate=2,padding="same")(x)
    return F(i,x)
@model
def residual():
    x=i=I(16,16,3)
    x=L.ZeroPadding2D(3,name="conv1_pad")(x); x=L.Conv2D(8,7,strides=2,name="conv1_conv")(x); x=L.BatchNormalization(epsilon=1.001e-5,name="conv1_bn")(x)
    x=L.Activation("relu")(x); x=L.ZeroPadding2D(1)(x); x=L.MaxPooling2D(3,strides=2)(x)
    y=L.Conv2D(8,3,padding="same")(x); y=L.BatchNormalization()(y); x=L.Add()([x,y]); x=L.Activation("relu")(x)
    x=L.GlobalAveragePooling2D()(x); x=L.Dense(10,activation="softmax",name="predictions")(x)
    return F(i,x,name="resnet_small")

@model
def aspects():
    x=i=I(6,9,3)
    a=L.Resizing(4,4,crop_to_aspect_ratio=True)(x); b=L.CenterCrop(8,8)(x)
    o=[L.Flatten()(a),L.Flatten()(b)]
    if V3: o.append(L.Flatten()(L.Resizing(5,4,pad_to_aspect_ratio=True,fill_value=0.5)(x)))
    return F(i,L.Concatenate()(o))
@model
def middles():
    x=i=I(4,5,3)
    o=[L.Softmax(axis=2)(x),L.BatchNormalization(axis=1)(L.Conv2D(4,1)(x))]
    if V3:
        from keras import ops
        o+=[L.Normalization(mean=[1.0,2.0,3.0],variance=[4.0,1.0,2.0],invert=True)(x),ops.gelu(x)]
    return F(i,o)
@model
def first():
    C=dict(data_format="channels_first")
    x=i=I(3,11,8)
    x=L.Conv2D(6,3,strides=2,padding="same",**C)(x); x=L.BatchNormalization(axis=1)(x); x=L.PReLU(shared_axes=[2,3])(x)
    a=L.SeparableConv2D(4,3,padding="same",**C)(x); b=L.DepthwiseConv2D(3,padding="same",depth_multiplier=2,**C)(x)
    c=L.MaxPooling2D(3,strides=1,padding="same",**C)(x)
    x=L.Concatenate(axis=1)([a,b,c]); x=L.ZeroPadding2D(((1,0),(0,2)),**C)(x)
    x=L.Conv2DTranspose(5,3,strides=2,padding="same",**C)(x); x=L.AveragePooling2D(2,**C)(x)
    x=L.UpSampling2D((2,1),**C)(x); x=L.Cropping2D(((0,1),(1,0)),**C)(x)
    g=L.GlobalAveragePooling2D(**C)(x)
    f=L.Flatten(**C)(x); f=L.Dense(7,activation="tanh")(f)
    return F(i,[x,L.Concatenate()([g,f])])
@model
def first_seq():
    C=dict(data_format="channels_first")
    return keras.Sequential([I(2,6,5), L.Conv2D(4,3,activation="relu",**C), L.MaxPooling2D(2,**C), L.Dropout(0.3),
        L.Flatten(**C), L.Dense(5), L.GaussianNoise(0.1), L.Softmax()])

@model
def drops():
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
    x=i=I(5,4,3)
    y=L.Dropout(0.2,noise_shape=(None,1,1,1))(L.Conv2D(3,3,padding="same")(x))
    x=CustomScaleLayer(0.17)([x,y])
    if not V3: x=L.ThresholdedReLU(0.5)(x)
    return F(i,x)
@model
def moves():
    from keras import ops
    i=I(6,5,4); x=L.Conv2D(4,3,padding="same")(i)
    a=ops.reshape(x,(-1,30,4)); a=ops.transpose(a,(0,2,1)); a=ops.squeeze(ops.expand_dims(a,1),1)
    b=x[:,1:-1,::2,1:]; c=x[...,-1]; d=ops.minimum(ops.minimum(x,i),0.4); e=ops.power(x,2.0)
    f=ops.pad(x,[[0,0],[1,0],[0,2],[1,1]],constant_values=0.5)
    return F(i,[a,b,c,d,e,f])

def randomise(m):
    skip=[id(w) for l in m.layers if type(l).__name__=="Normalization" for w in l.weights]
    for w in m.weights:
        if id(w) in skip: continue
        n=(getattr(w,"path","")+w.name)
        v=rng.normal(0,0.4,w.shape).astype("float32")
        if "variance" in n: v=np.abs(v)+0.5
        if "gamma" in n: v=v+1
        if "seed" in n or "count" in n: continue
        w.assign(v)

def save_npz(p, m, name):
    ins=m.inputs; xs=[rng.normal(0,1,(2,)+tuple(i.shape[1:])).astype("float32") for i in ins]
    if name in("seq_cnn","arith"): xs=[np.abs(x)*60 for x in xs]
    ys=m.predict(xs if len(xs)>1 else xs[0], verbose=0)
    if not isinstance(ys,(list,tuple)): ys=[ys]
    np.savez(p, **{f"in{k}":x for k,x in enumerate(xs)}, **{f"out{k}":np.asarray(y) for k,y in enumerate(ys)})

for name,f in M.items():
    if only and name not in only: continue
    try:
        keras.utils.set_random_seed(1); 
        if hasattr(keras,"backend") and hasattr(keras.backend,"clear_session"): keras.backend.clear_session()
        m=f(); randomise(m)
        save_npz(f"{OUT}/{name}.npz", m, name)
        for ext in [".keras",".h5",".weights.h5"]:
            try:
                if ext==".weights.h5": m.save_weights(f"{OUT}/{name}{ext}")
                else: m.save(f"{OUT}/{name}{ext}")
            except Exception as e: print("save", name, ext, repr(e)[:200])
        if not V3: m.save_weights(f"{OUT}/{name}.weights_legacy.h5", save_format="h5")
        open(f"{OUT}/{name}.json","w").write(m.to_json())
        print("ok",name, flush=True)
    except Exception as e:
        print("FAIL",name,repr(e)[:300], flush=True)
